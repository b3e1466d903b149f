"""The JSON door: everything is decoded, duplicates are refused, the parameter at fault is named."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.protocol.body import decode_object, typed
from gateway.protocol.chat import ChatRequest

BAD = {
    "empty": b"",
    "cut": b'{"model": "a"',
    "list": b"[1]",
    "number": b"7",
    "not utf-8": b'{"a": "\xff"}',
    "half a surrogate": b'{"a": "\\ud800"}',
    "infinite": b'{"a": 1e999}',
    "nan": b'{"a": NaN}',
    "trailing": b'{"a": 1} x',
    "duplicate": b'{"a": 1, "a": 2}',
    "duplicate below": b'{"a": {"b": 1, "b" : 2}}',
    "duplicate hidden by an escaped one": b'{"a\\\\": 1, "b": 1, "b": "\\":"}',
    "deep": b'{"a": ' + b"[" * 150 + b"]" * 150 + b"}",
    "very deep": b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        decode_object(BAD[name])


def test_json_inside_a_string_is_no_duplicate() -> None:
    body = {"messages": [{"content": '{"a": 1, "a": 2}', "role": "user"}]}
    assert decode_object(json.dumps(body).encode()) == body


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
            ),
            max_leaves=10,
        ),
        max_size=4,
    )
)
def test_every_valid_object_passes(value: dict[str, object]) -> None:
    try:
        body = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return  # a lone surrogate is not text
    assert decode_object(body) == value


_LETTERS = st.sampled_from(["a", ":", '"', "\\", "u003a", "{", "[", "é", "\n", " "])
_VALUES = st.recursive(
    st.integers(-9, 9) | st.lists(_LETTERS, max_size=4).map("".join),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(_LETTERS, inner), max_size=3).map(tuple),
    max_leaves=8,
)
"""A tuple is an object as it is written: pairs, of which two may have one key."""


def _spelt(text: str, draw: Callable[[int], int]) -> str:
    """A JSON string with any letter escaped or not, as JSON allows."""
    plain = {letter: json.dumps(letter, ensure_ascii=False)[1:-1] for letter in text}
    letters = [f"\\u{ord(one):04{'xX'[draw(2)]}}" if draw(3) == 0 else plain[one] for one in text]
    return f'"{"".join(letters)}"'


def _written(value: object, draw: Callable[[int], int]) -> str:
    def space() -> str:
        return ["", "", "", " ", "\n", "\t"][draw(6)]

    if isinstance(value, tuple):
        pairs = (f"{space()}{_spelt(key, draw)}{space()}:{space()}{_written(one, draw)}" for key, one in value)
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(space() + _written(one, draw) for one in value) + "]"
    return _spelt(value, draw) if isinstance(value, str) else json.dumps(value)


def _doubled(value: object) -> bool:
    if isinstance(value, tuple):
        keys = [key for key, _ in value]
        return len(set(keys)) < len(keys) or any(_doubled(one) for _, one in value)
    return isinstance(value, list) and any(_doubled(one) for one in value)


@given(st.lists(st.tuples(_LETTERS, _VALUES), max_size=4).map(tuple), st.randoms(use_true_random=False))
def test_a_doubled_key_is_found_however_it_is_spelt(value: tuple[object, ...], rng: random.Random) -> None:
    body = _written(value, rng.randrange).encode()
    if not _doubled(value):
        assert decode_object(body) == json.loads(body)
        return
    with pytest.raises(BadRequest, match="twice"):
        decode_object(body)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": 7, "messages": []}, "model"),
        ({"model": "m", "messages": "hi"}, "messages"),
        ({"model": "m", "messages": [{"content": "x"}]}, "messages[0].role"),
        ({"model": "m", "messages": [], "temperature": 9}, "temperature"),
        ({"model": "m", "messages": [], "n": 0}, "n"),
        ({"model": "m", "messages": [], "stream": "yes"}, "stream"),
    ],
)
def test_the_parameter_is_named(body: dict[str, object], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        typed(body, ChatRequest)
    assert caught.value.param == param
