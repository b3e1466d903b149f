"""Rules by who, what and when; callers that stay where they are."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.routing.choose import Situation, choose
from optimizer.routing.plan import Candidate
from optimizer.routing.rules import Caller, When, mismatch
from optimizer.routing.sticky import rendezvous
from optimizer.routing.strategies import Weighted

BERLIN = ZoneInfo("Europe/Berlin")


def caller(**changes: Any) -> Caller:
    values = {"metadata": {"tier": "gold"}, "headers": {"x-team": "ml"}, "keys": ("key_1", "app"),
              "project": "shop", "tokens": 500, "at": 0.0, **changes}  # fmt: skip
    return Caller(**values)


def at(day: int, clock: str) -> float:
    """A time in Berlin in November 2026; the 23rd is a Monday."""
    hour, minute = map(int, clock.split(":"))
    return datetime(2026, 11, day, hour, minute, tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("when", "fits"),
    [
        (When(), True),
        (When(metadata={"tier": "gold"}), True),
        (When(metadata={"tier": "silver"}), False),
        (When(metadata={"other": "*"}), False),
        (When(header={"X-Team": "*"}), True),
        (When(header={"x-team": "ops"}), False),
        (When(key=["app"]), True),
        (When(key=["key_1"]), True),
        (When(key=["web"]), False),
        (When(project=["shop", "lab"]), True),
        (When(project=["lab"]), False),
        (When(min_tokens=500, max_tokens=500), True),
        (When(min_tokens=501), False),
        (When(max_tokens=499), False),
        (When(metadata={"tier": "gold"}, project=["lab"]), False),
    ],
)
def test_every_given_field_must_hold(when: When, fits: bool) -> None:
    assert (mismatch(when, caller()) == "") is fits


@pytest.mark.parametrize(
    ("span", "moment", "fits"),
    [
        ({"start": "08:00", "end": "18:00"}, at(23, "08:00"), True),
        ({"start": "08:00", "end": "18:00"}, at(23, "18:00"), False),
        ({"start": "22:00", "end": "06:00"}, at(23, "23:30"), True),
        ({"start": "22:00", "end": "06:00"}, at(23, "05:59"), True),
        ({"start": "22:00", "end": "06:00"}, at(23, "12:00"), False),
        ({"start": "22:00", "end": "06:00", "days": ["sun"]}, at(23, "05:00"), True),  # it began on Sunday
        ({"start": "22:00", "end": "06:00", "days": ["sun"]}, at(23, "23:00"), False),
        ({"days": ["mon"]}, at(23, "00:00"), True),
        ({"days": ["sat", "sun"]}, at(23, "00:00"), False),
        ({"start": "20:00"}, at(23, "21:00"), True),
    ],
)
def test_clock_times_are_local(span: dict[str, Any], moment: float, fits: bool) -> None:
    assert (mismatch(When(timezone="Europe/Berlin", **span), caller(at=moment)) == "") is fits


def five() -> list[Candidate]:
    return [Candidate("p", str(index)) for index in range(5)]


def test_a_candidate_that_goes_moves_only_its_own_callers() -> None:
    before, keys = five(), [f"user-{index}" for index in range(3000)]
    after = before[:2] + before[3:]
    for key in keys:
        old = before[rendezvous(key, before, [1.0] * 5)]
        new = after[rendezvous(key, after, [1.0] * 4)]
        assert new == old or old == before[2]


def test_callers_spread_by_weight() -> None:
    found = [rendezvous(f"u{index}", five(), [4, 3, 2, 1, 0]) for index in range(5000)]
    for index, share in enumerate((0.4, 0.3, 0.2, 0.1, 0.0)):
        assert abs(found.count(index) / 5000 - share) < 0.025  # 3.6 standard deviations at 0.4


@given(st.text(max_size=20).filter(bool), st.floats(0, 1, exclude_max=True))
def test_a_caller_stays_whatever_is_drawn(key: str, draw: float) -> None:
    strategy = Weighted(weights={"p/0": 5.0})
    first = choose(Situation(tuple(five()), strategy, sticky=key, draw=draw))
    assert first == choose(Situation(tuple(five()), strategy, sticky=key, draw=0.0))
    assert first.propensity == (5 / 9 if first.rungs[0].candidate.model == "0" else 1 / 9)
