"""A training that would not fit waits, or says that it never will."""

from __future__ import annotations

import pytest

from gateway.config import Generative
from trainer.training.bases import Base
from trainer.training.memory import NeverFits, Room, need_of, room, wait_for

GIB = 2**30
SEVEN_BILLION = Base("x", "0" * 64, width=4096, vocabulary=32000, bytes=14 * GIB, parameters=7_000_000_000)


def test_a_whole_model_needs_more_than_an_adapter_and_that_more_than_a_quantised_one() -> None:
    need = {
        adapt: need_of(SEVEN_BILLION, Generative(base="x", adapt=adapt))
        for adapt in ("full", "lora", "qlora")
    }  # type: ignore[arg-type]
    assert need["qlora"] < need["lora"] < need["full"]
    assert 100 * GIB < need["full"] < 130 * GIB
    assert 5 * GIB < need["qlora"] < 12 * GIB


def test_it_waits_until_there_is_room() -> None:
    free = iter([1 * GIB, 2 * GIB, 9 * GIB])
    said: list[str] = []
    naps: list[float] = []
    wait_for(8 * GIB, lambda: Room(next(free), 16 * GIB), said.append, naps.append)
    assert len(said) == len(naps) == 2
    assert "8.0 GiB needed, 1.0 GiB free" in said[0]


def test_what_can_never_fit_fails_at_once() -> None:
    with pytest.raises(NeverFits, match=r"needs about 32\.0 GiB and the device has 16\.0 GiB"):
        wait_for(32 * GIB, lambda: Room(9 * GIB, 16 * GIB), lambda _: None, lambda _: None)


def test_where_nobody_says_it_goes_on() -> None:
    wait_for(32 * GIB, lambda: None, lambda _: None, lambda _: None)
    here = room()
    assert here is None or 0 < here.free <= here.total
