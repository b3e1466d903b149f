from __future__ import annotations

import msgspec
import numpy as np
import pytest

from optimizer.gates import Agreement, GateSettings, Latency, Outcome, Score, Terms

TERMS = Terms(target=0.95, margin=0.02, alpha=0.05, delta=0.05)


def log_of(agree: list[bool], latency_ms: float = 3.0, answered: bool = True) -> list[Outcome]:
    return [
        Outcome(call=f"c{i}", cluster="", answered=answered, agree=one, confidence=0.9, latency_ms=latency_ms)
        for i, one in enumerate(agree)
    ]


def drawn(share: float, n: int, seed: int) -> list[bool]:
    return [bool(one) for one in np.random.default_rng(seed).random(n) < share]


def test_the_union_is_the_yaml_schema() -> None:
    gates = msgspec.convert([{"type": "agreement"}, {"type": "latency", "max_p95_ms": 9}], list[GateSettings])
    assert gates == [Agreement(), Latency(max_p95_ms=9.0)]


# ---------------------------------------------------------------- agreement
def test_agreement_passes_a_good_student() -> None:
    result = Agreement().judge(log_of(drawn(0.97, 1500, 1)), TERMS)
    assert result.verdict == "pass"
    assert result.numbers["e_value"] >= result.numbers["needed"] == 20
    assert result.numbers["null"] == pytest.approx(0.93)
    assert result.numbers["n"] == 1500
    low, high = result.numbers["agreement_low"], result.numbers["agreement_high"]
    assert low < result.numbers["agreement"] == result.numbers["agreed"] / 1500 < high


def test_agreement_fails_a_bad_one_and_waits_while_it_does_not_know() -> None:
    assert Agreement().judge(log_of(drawn(0.85, 600, 2)), TERMS).verdict == "fail"
    assert Agreement().judge(log_of(drawn(0.97, 30, 3)), TERMS).verdict == "not_yet"
    empty = Agreement().judge([], TERMS)
    assert (empty.verdict, empty.numbers["e_value"], empty.numbers["n"]) == ("not_yet", 1.0, 0.0)


def test_agreement_judges_only_what_was_answered() -> None:
    passed_on = log_of([False] * 500, answered=False)
    assert Agreement().judge(passed_on, TERMS).numbers["n"] == 0


def test_its_own_margin_outweighs_the_tasks() -> None:
    assert Agreement(margin=0.05).judge([], TERMS).numbers["null"] == pytest.approx(0.90)


def test_a_long_session_is_one_piece_of_evidence() -> None:
    one_session = [
        Outcome(call=f"s{i}", cluster="s", answered=True, agree=True, confidence=0.9, latency_ms=1.0)
        for i in range(500)
    ]
    result = Agreement().judge([*one_session, *log_of([True] * 52)], TERMS)
    assert result.verdict == "not_yet"
    assert result.numbers["sessions"] == 53
    assert Agreement().judge(one_session, TERMS).numbers["waiting"] == 500


def test_peeking_through_the_gate_itself_keeps_alpha() -> None:
    """The gate's verdicts on whole logs: judging the end includes having judged every prefix."""
    passed = sum(
        Agreement().judge(log_of(drawn(0.93, 400, seed)), TERMS).verdict == "pass" for seed in range(300)
    )
    assert passed / 300 <= 0.05 + 2 * (0.05 * 0.95 / 300) ** 0.5
    agree = drawn(0.93, 200, 12)
    best = [Agreement().judge(log_of(agree[:n]), TERMS).numbers["e_value"] for n in range(1, 201)]
    assert best == sorted(best)


# ---------------------------------------------------------------- latency
def test_latency_waits_for_enough_calls_then_passes() -> None:
    assert Latency().judge(log_of([True] * 59), TERMS).verdict == "not_yet"
    result = Latency().judge(log_of([True] * 240), TERMS)
    assert (result.verdict, result.numbers["p95_ms"]) == ("pass", 3.0)


def test_latency_fails_a_slow_student() -> None:
    result = Latency(max_p95_ms=2.0).judge(log_of([True] * 120), TERMS)
    assert result.verdict == "fail"
    assert result.numbers["p95_low_ms"] == 3.0


def test_latency_does_not_decide_on_a_bare_point_estimate() -> None:
    times = [1.0] * 115 + [900.0] * 5  # p95 is 1 ms here, but may well be 900
    log = [
        msgspec.structs.replace(one, latency_ms=ms)
        for one, ms in zip(log_of([True] * 120), times, strict=True)
    ]
    result = Latency().judge(log, TERMS)
    assert result.verdict == "not_yet"
    assert result.numbers["p95_ms"] <= 500 < result.numbers["p95_high_ms"]


def test_looking_again_and_again_at_latency_keeps_delta() -> None:
    rng = np.random.default_rng(6)
    passed = 0
    for _ in range(300):
        times = rng.random(960) / 0.95  # the 95th percentile is exactly 1, a little above the limit
        looks = [
            Latency(max_p95_ms=0.9999).judge(
                [Outcome(str(i), "", True, True, 1.0, float(ms)) for i, ms in enumerate(times[:n])], TERMS
            )
            for n in (60, 120, 240, 480, 960)
        ]
        passed += any(look.verdict == "pass" for look in looks)
    assert passed / 300 <= 0.05 + 2 * (0.05 * 0.95 / 300) ** 0.5


# ---------------------------------------------------------------- scores
def scored(values: list[float], name: str = "token_f1") -> list[Outcome]:
    return [Outcome(f"c{i}", "", True, True, 0.9, 1.0, {name: value}) for i, value in enumerate(values)]


def beta(mean: float, n: int, seed: int) -> list[float]:
    return [float(one) for one in np.random.default_rng(seed).beta(8 * mean, 8 * (1 - mean), n)]


def test_a_score_gate_passes_fails_and_waits() -> None:
    gate = Score(scorer="token_f1", at_least=0.85)
    assert gate.judge(scored(beta(0.93, 400, 1)), TERMS).verdict == "pass"
    assert gate.judge(scored(beta(0.75, 400, 1)), TERMS).verdict == "fail"
    undecided = gate.judge(scored(beta(0.93, 5, 1)), TERMS)
    assert (undecided.verdict, undecided.gate) == ("not_yet", "score:token_f1")
    assert "token_f1 0.9" in undecided.reason


def test_calls_without_that_score_are_no_evidence() -> None:
    result = Score(scorer="bleu", at_least=0.5).judge(scored([1.0] * 300), TERMS)
    assert (result.verdict, result.numbers["n"]) == ("not_yet", 0.0)


def test_a_student_at_the_null_passes_seldom_however_often_it_is_looked_at() -> None:
    gate = Score(scorer="token_f1", at_least=0.85)
    passed = sum(gate.judge(scored(beta(0.83, 400, seed)), TERMS).verdict == "pass" for seed in range(200))
    assert passed <= 200 * TERMS.alpha
