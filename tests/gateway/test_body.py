"""The JSON door: everything is decoded, duplicates are refused, the parameter at fault is named."""

from __future__ import annotations

import json

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
