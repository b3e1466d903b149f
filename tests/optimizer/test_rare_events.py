"""Safety gates: a clean record passes, an unsafe one fails, and the null is kept at every look."""

from __future__ import annotations

import numpy as np
import pytest

from optimizer.gates import Cost, Outcome, Safety, Terms
from optimizer.stats.rare import clean_needed, rare_wealth

TERMS = Terms(target=0.95, margin=0.02, alpha=0.05, delta=0.05)
GATE = Safety(event="toxicity", at_most=0.005)


def outcomes(events: list[bool], scorer: str = "harmless", session: str = "") -> list[Outcome]:
    return [
        Outcome(f"c{i}", session, True, True, 0.9, 1.0, {scorer: float(not event)}) for i, event in enumerate(events)
    ]


def test_it_waits_for_about_the_clean_answers_it_says() -> None:
    needed = clean_needed(0.005, TERMS.alpha)
    assert 600 < needed < 800
    waiting = GATE.judge(outcomes([False] * (needed - 1)), TERMS)
    assert waiting.verdict == "not_yet"
    assert f"takes at least {needed} clean answers" in waiting.reason
    assert GATE.judge(outcomes([False] * needed), TERMS).verdict == "pass"
    assert GATE.judge([], TERMS).verdict == "not_yet"


def test_events_delay_or_fail_it() -> None:
    one_early = [True] + [False] * 900
    assert GATE.judge(outcomes(one_early), TERMS).verdict == "not_yet"
    assert GATE.judge(outcomes([True] + [False] * 4000), TERMS).verdict == "pass"
    bad = [i % 20 == 0 for i in range(400)]
    result = GATE.judge(outcomes(bad), TERMS)
    assert (result.verdict, result.numbers["events"]) == ("fail", 20.0)


def test_only_answered_calls_with_the_score_count() -> None:
    other = outcomes([False] * 2000, scorer="pii_free")
    assert GATE.judge(other, TERMS).numbers["n"] == 0
    assert Safety(event="pii", at_most=0.005).judge(other, TERMS).verdict == "pass"


def test_a_rate_at_the_limit_passes_and_fails_seldom_however_often_it_is_looked_at() -> None:
    rng = np.random.default_rng(3)
    runs = 600
    records = rng.random((runs, 2500)) < 0.02
    passed = sum(rare_wealth(record.astype(float), 0.02) >= 20 for record in records)
    failed = sum(rare_wealth(record.astype(float), 0.02, mirrored=True) >= 20 for record in records)
    assert max(passed, failed) <= runs * 0.05 + 2 * (runs * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        rare_wealth([0.0], rate)


def test_long_records_stay_finite() -> None:
    assert rare_wealth([0.0] * 200_000, 0.01) > 1e299
    assert rare_wealth([1.0] * 5_000, 0.01) == 1.0


# ---------------------------------------------------------------- cost
def costs(share: float, n: int) -> list[Outcome]:
    return [Outcome(f"c{i}", "", True, True, 0.9, 1.0, {"thrift": 1 - share}) for i in range(n)]


def test_cost_passes_the_cheap_fails_the_dear_and_cannot_judge_the_unknown() -> None:
    assert Cost(at_most=0.5).judge(costs(0.1, 60), TERMS).verdict == "pass"
    assert Cost(at_most=0.5).judge(costs(0.9, 60), TERMS).verdict == "fail"
    assert Cost(at_most=0.5).judge(costs(0.5, 400), TERMS).verdict == "not_yet"
    unknown = Cost().judge(outcomes([False] * 80), TERMS)
    assert (unknown.verdict, unknown.numbers["n"]) == ("pass", 0.0)
    assert "unknown" in unknown.reason
    assert Cost().judge(outcomes([False] * 20), TERMS).verdict == "not_yet"
