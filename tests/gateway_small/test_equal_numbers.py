"""Numbers in the keys of the caches: what is equal makes one key however it is written, and nothing else does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from small_fakes import exchange_of, runtime_of

from gateway.config import Cache, Config
from gateway.stages.cache_key import cache_key

ON = runtime_of(Config(cache=Cache(enabled=True)))


def key(written: str) -> str:
    body: dict[str, Any] = msgspec.json.decode(f'{{"temperature": 0, {written}}}')
    return cache_key(exchange_of(ON, body))


@pytest.mark.parametrize(("one", "other"), [
    ('"temperature": 0', '"temperature": 0.0'), ('"temperature": 0', '"temperature": -0.0'),
    ('"top_p": 1', '"top_p": 1.0'), ('"top_p": 1', '"top_p": 10e-1'), ('"x": 100', '"x": 1e2'),
    ('"top_p": 0.5', '"top_p": 5e-1'), ('"logit_bias": {"50256": -100}', '"logit_bias": {"50256": -100.0}'),
    ('"x": [{"minimum": 2}]', '"x": [{"minimum": 2.0}]'), ('"x": 9007199254740991', '"x": 9007199254740991.0'),
])  # fmt: skip
def test_equal_numbers_make_one_key(one: str, other: str) -> None:
    assert key(one) == key(other)


@pytest.mark.parametrize(("one", "other"), [
    ('"x": 1', '"x": true'), ('"x": 0', '"x": false'), ('"x": 0.0', '"x": false'), ('"x": 1.0', '"x": "1.0"'),
    ('"seed": 9007199254740993', '"seed": 9007199254740992'), ('"x": 9007199254740993', '"x": 9007199254740993.0'),
    ('"seed": 123456789012345678901234567890', '"seed": 123456789012345678901234567891'),
    ('"x": 1.0', '"x": 1.0000000000000002'), ('"x": [1.0]', '"x": {"0": 1.0}'), ('"x": "2.0,"', '"x": "2,"'),
])  # fmt: skip
def test_nothing_else_does(one: str, other: str) -> None:
    assert key(one) != key(other)


def test_what_is_forwarded_stays_as_it_was_written() -> None:
    exchange = exchange_of(ON, {"temperature": 0, "top_p": 1.0})
    cache_key(exchange)
    assert msgspec.json.encode(exchange.body["top_p"]) == b"1.0"
