"""Which candidates are left, in which order, and why the others are not: pure tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.routing.choose import Situation, decide
from optimizer.routing.facts import Constraints, Facts, Needs, judge
from optimizer.routing.objective import ranked
from optimizer.routing.plan import Candidate
from optimizer.routing.strategies import LeastCost, LeastLatency, Ordered

A, B, C = Candidate("a", "m"), Candidate("b", "m"), Candidate("c", "m")
GOOD = Facts(
    context_window=1000, max_output=500, capabilities=frozenset({"tools"}), region="eu", quality=0.8,
    cost_usd=0.01, p50_ms=100.0, p95_ms=200.0, samples=50,
)  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "needs", "begins", "kind"),
    [
        (Constraints(), Needs(900, 200), "context window: about 900", "request"),
        (Constraints(), Needs(10, 600), "output: 600 tokens", "request"),
        (
            Constraints(),
            Needs(capabilities=("vision", "tools")),
            "capability: the request needs vision",
            "request",
        ),
        (Constraints(requires=["vision"]), Needs(), "capability: the policy requires vision", "policy"),
        (Constraints(regions=["us"]), Needs(), "region: it is in eu", "policy"),
        (Constraints(min_quality_score=0.9), Needs(), "quality: 0.8 is below 0.9", "policy"),
        (Constraints(max_cost_per_request_usd=0.005), Needs(), "cost: an estimated $0.010000", "request"),
        (Constraints(max_p95_latency_ms=150), Needs(), "latency: an observed p95 of 200 ms", "state"),
        (Constraints(max_p95_latency_ms=150, min_samples=51), Needs(), "", ""),
        (Constraints(fit=False), Needs(5000, 0, ("vision",)), "", ""),
        (Constraints(regions=["eu"], requires=["tools"], min_quality_score=0.8), Needs(100, 10), "", ""),
    ],
)
def test_a_drop_has_its_reason(limits: Constraints, needs: Needs, begins: str, kind: str) -> None:
    found = judge(A, GOOD, limits, needs)
    assert found.reason.startswith(begins) and found.kind == kind and found.kept == (begins == "")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Constraints(max_cost_per_request_usd=1), "cost: its price is unknown"),
        (Constraints(min_quality_score=0.1), "quality: it has no quality score"),
        (Constraints(regions=["eu"]), "region: it has no region, and only eu is allowed"),
        (Constraints(requires=["tools"]), "capability: it is not known whether it has tools"),
        (Constraints(max_p95_latency_ms=1), ""),
        (Constraints(), ""),
    ],
)
def test_the_unknown_fails_what_the_policy_demands_and_nothing_else(limits: Constraints, reason: str) -> None:
    assert judge(A, Facts(), limits, Needs(10**9, 0, ("tools",))).reason == reason


def test_objectives() -> None:
    facts = {
        A: Facts(cost_usd=0.02, quality=0.9, p50_ms=300, samples=9),
        B: Facts(cost_usd=0.01, quality=0.5, p50_ms=100, samples=9),
        C: Facts(),
    }
    assert ranked((C, A, B), "min_cost", facts) == (B, A, C)
    assert ranked((C, B, A), "max_quality", facts) == (A, B, C)
    assert ranked((A, B, C), "min_latency", facts) == (C, B, A)  # unknown first: it must be seen to be known
    assert ranked((C, A, B), "weighted", facts, {"quality": 1, "cost": 0, "latency": 0}) == (A, B, C)
    assert ranked((C, A, B), "weighted", facts, {"quality": 1, "cost": 2}) == (B, A, C)
    assert ranked((A, B), "weighted", {A: Facts(cost_usd=0.0), B: Facts(cost_usd=1.0)}) == (A, B)


def test_strategies_order_what_is_left_and_say_how_likely_that_was() -> None:
    facts = {
        A: Facts(cost_usd=0.3, p50_ms=50, samples=9),
        B: Facts(cost_usd=0.1, p50_ms=90, samples=9),
        C: Facts(cost_usd=0.2, p50_ms=10, samples=9, off="switched off"),
    }
    cheap = decide(Situation((A, B, C), LeastCost(), facts=facts))
    assert [rung.candidate for rung in cheap.plan.rungs] == [B, A]
    assert [one.reason for one in cheap.considered] == ["", "", "switched off"]
    quick = decide(Situation((B, A, C), LeastLatency(), facts=facts, draw=0.5)).plan
    assert (quick.rungs[0].candidate, quick.propensity) == (A, pytest.approx(0.975))
    tried = decide(Situation((B, A, C), LeastLatency(), facts=facts, draw=0.03)).plan
    assert (tried.rungs[0].candidate, tried.propensity) == (B, pytest.approx(0.025))
    nobody = decide(Situation((C,), Ordered(), facts=facts))
    assert nobody.plan.rungs == () and nobody.plan.strategy == "ordered"


unknown = st.none() | st.floats(0, 100)
some_facts = st.builds(
    Facts, context_window=st.none() | st.integers(1, 10**6), quality=st.none() | st.floats(0, 1), cost_usd=unknown,
    p50_ms=unknown, p95_ms=unknown, samples=st.integers(0, 99), region=st.sampled_from(["", "eu", "us"]),
    capabilities=st.none() | st.frozensets(st.sampled_from(["tools", "vision"])),
)  # fmt: skip


@given(
    st.lists(some_facts, min_size=1, max_size=5),
    st.sampled_from([None, "min_cost", "max_quality", "min_latency", "weighted"]),
    st.sampled_from([Ordered(), LeastCost(), LeastLatency()]),
    st.floats(0, 1, exclude_max=True),
    st.builds(Constraints, max_cost_per_request_usd=st.none() | st.floats(0.1, 50), regions=st.sampled_from([[], ["eu"]])),
)  # fmt: skip
def test_a_plan_holds_exactly_those_who_were_kept(facts, objective, strategy, draw, limits) -> None:  # type: ignore[no-untyped-def]
    candidates = tuple(Candidate("p", str(index)) for index in range(len(facts)))
    known = dict(zip(candidates, facts, strict=True))
    found = decide(
        Situation(candidates, strategy, facts=known, objective=objective, constraints=limits, draw=draw)
    )
    kept = [one.candidate for one in found.considered if one.kept]
    assert sorted(rung.candidate.name for rung in found.plan.rungs) == sorted(one.name for one in kept)
    assert 0 < found.plan.propensity <= 1
    assert [one.candidate for one in found.considered] == list(candidates)
