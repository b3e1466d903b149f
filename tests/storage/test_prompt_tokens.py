"""What providers' prompt caches had of the input, summed over both databases."""

from __future__ import annotations

import pytest
from storage_samples import Room, call

from gateway.storage.records import FOREIGN


def test_cached_input_is_summed_by_task_and_model(room: Room) -> None:
    big = {"task": "t", "provider": "big", "model": "m", "prompt_tokens": 100, "cached_tokens": 75, "student": ""}
    room.add(
        call("one", at=1000.0, prompt_cache_usd=0.5, **big),
        call("two", at=1001.0, prompt_cache_usd=-0.125, **big),
        call("before", at=10.0, prompt_cache_usd=9.0, **big),
        call("kept", at=1002.0, prompt_cache_usd=0.0, **{**big, "provider": ""}),
        call("foreign", at=1002.0, prompt_cache_usd=9.0, arm=FOREIGN, **big),
        call("guessed", at=1002.0, prompt_cache_usd=9.0, tokens_estimated=True, **big),
        call("none", at=1003.0, prompt_cache_usd=0.0, **{**big, "model": "n", "cached_tokens": 0}),
        call("odd", at=1004.0, prompt_cache_usd=None, **{**big, "model": "o", "cached_tokens": 5}),
    )
    first, second = room.reader.prompt_tokens(since=1000.0)
    assert (first.task, first.provider, first.model, first.calls) == ("t", "big", "m", 2)
    assert (first.prompt_tokens, first.cached_tokens) == (200, 150)
    assert first.saved_usd == pytest.approx(0.375)
    assert (second.model, second.saved_usd) == ("o", None)
