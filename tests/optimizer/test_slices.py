from __future__ import annotations

import msgspec
import pytest

from optimizer.certificate import Log, chain_problems, conclude, digest, hidden, recompute, to_json
from optimizer.gates import Agreement, Cost, Latency, Outcome, Safety, Terms
from optimizer.rollout import PATIENCE, Hold, Promote, Reject, Stage, Student, advance
from optimizer.scorers import grounded
from optimizer.slices import REST, Slice, parts, slice_of

TERMS = Terms(target=0.95, margin=0.02, alpha=0.05, delta=0.05)
GATES = [Agreement(), Latency()]
SLICES = (Slice("vip", metadata={"tier": "vip"}), Slice("long", min_chars=100))
STUDENT = Student(
    id="s", project="p", task="t", fingerprint="f" * 16, version=1, recipe="classifier", round=1, threshold=0.5,
    stage=Stage.SHADOW, slices=SLICES, certificate="c" * 64,
)  # fmt: skip


def where(text: str, metadata: dict[str, str] | None = None, answer: str | None = None) -> str | None:
    slices = (
        Slice("vip", metadata={"tier": "vip"}), Slice("any", metadata={"tag": "*"}), Slice("german", language=("de",)),
        Slice("long", min_chars=50, max_chars=80), Slice("refunds", answer=("refund",)),
    )  # fmt: skip
    return slice_of(slices, metadata=metadata or {}, text=text, answer=answer)


def test_the_first_slice_that_fits_is_the_calls() -> None:
    assert where("x", {"tier": "vip", "tag": "1"}) == "vip"
    assert where("x", {"tier": "gold", "tag": "1"}) == "any"
    assert where("ich habe meine Karte nicht und der Automat ist kaputt") == "german"
    assert where("y" * 60) == "long"


def test_a_slice_of_answers_is_known_only_afterwards() -> None:
    assert where("short") is None
    assert where("short", answer="refund") == "refunds"
    assert where("short", answer="billing") == REST
    assert parts(()) == ()
    assert parts(SLICES) == ("vip", "long", "rest")


def test_a_slice_without_conditions_says_nothing() -> None:
    assert not Slice("x").says_something
    assert all(one.says_something for one in SLICES)


def evidence(**wrong_every: int) -> tuple[list[Outcome], list[str]]:
    """400 calls of each part; of a part that is named, one in so many is wrong."""
    outcomes, names = [], []
    for number in range(400):
        for name in ("vip", "long", "rest"):
            every = wrong_every.get(name, 10**6)
            outcomes.append(Outcome(f"{name}{number}", "", True, number % every != every - 1, 0.9, 3.0))
            names.append(name)
    return outcomes, names


def test_all_slices_good_is_a_promotion_without_deferral() -> None:
    decision = advance(STUDENT, *_given(evidence()))
    assert isinstance(decision, Promote) and decision.deferred == ()
    assert {one.gate for one in decision.results} == {
        "vip/agreement", "long/agreement", "rest/agreement", "agreement", "latency"
    }  # fmt: skip


def test_a_failing_slice_is_deferred_and_does_not_spoil_the_rest() -> None:
    decision = advance(STUDENT, *_given(evidence(vip=2)))
    assert isinstance(decision, Promote) and decision.deferred == ("vip",)
    overall = next(one for one in decision.results if one.gate == "agreement")
    assert overall.numbers["n"] == 800 and overall.numbers["agreement"] == 1.0


def test_the_rest_may_be_what_is_deferred() -> None:
    decision = advance(STUDENT, *_given(evidence(rest=3)))
    assert isinstance(decision, Promote) and decision.deferred == ("rest",)


def test_no_good_slice_is_a_rejection() -> None:
    decision = advance(STUDENT, *_given(evidence(vip=2, long=2, rest=2)))
    assert isinstance(decision, Reject) and "no slice passes" in decision.reason


def test_an_undecided_slice_holds_the_others_until_patience_is_over() -> None:
    outcomes, names = evidence()
    kept = [at for at, name in enumerate(names) if name != "vip"]
    few = [outcomes[at] for at in kept], [names[at] for at in kept]
    held = advance(STUDENT, few[0], GATES, TERMS, few[1])
    assert isinstance(held, Hold) and "vip/agreement" in held.reason
    more = few[0] * 3, few[1] * 3
    assert len(more[0]) >= PATIENCE
    renamed = [msgspec.structs.replace(one, call=f"{at}") for at, one in enumerate(more[0])]
    done = advance(STUDENT, renamed, GATES, TERMS, more[1])
    assert isinstance(done, Promote) and done.deferred == ("vip",)


def test_what_was_deferred_stays_so() -> None:
    student = msgspec.structs.replace(STUDENT, stage=Stage.CANARY, deferred=("vip",))
    outcomes, names = evidence()
    decision = advance(student, outcomes, GATES, TERMS, names)
    assert isinstance(decision, Promote) and decision.deferred == ("vip",)


def test_each_slice_has_its_share_of_alpha() -> None:
    decision = advance(STUDENT, *_given(evidence()))
    needed = {one.gate: one.numbers.get("needed") for one in decision.results}
    assert needed["vip/agreement"] == pytest.approx(60) and needed["agreement"] == pytest.approx(20)


def _given(made: tuple[list[Outcome], list[str]]) -> tuple[list[Outcome], list, Terms, list[str]]:
    return made[0], GATES, TERMS, made[1]


# ---------------------------------------------------------------- on the certificate
def test_the_certificate_names_them_and_derives_them_again() -> None:
    from test_certificate import LEVELS, draft

    from optimizer.gates import terms_of

    outcomes, names = evidence(vip=2)
    log = Log(outcomes=hidden(outcomes, "salt"), slices=tuple(names))
    made = conclude(
        draft(
            evidence=log, threshold=0.5, prev="e" * 64, slices=SLICES, terms=terms_of(0.95, 0.02, LEVELS), gates=tuple(GATES)
        )
    )
    assert (made.verdict, made.deferred) == ("promote", ("vip",))
    assert recompute(made) == []
    served = msgspec.structs.replace(made, deferred=msgspec.UNSET)
    assert any(problem.startswith("deferred says") for problem in recompute(served))
    forged = msgspec.structs.replace(made, evidence=msgspec.structs.replace(log, slices=("rest",) * len(names)))
    assert recompute(forged)
    follows = msgspec.structs.replace(made, kind="canary", from_stage=Stage.CANARY, prev=digest(made))
    assert "it does not start with the slices that the one before it deferred" in chain_problems(follows, made)
    assert b'"slices"' not in to_json(conclude(draft(evidence=Log(log.outcomes), threshold=0.5, prev="e" * 64)))


# ---------------------------------------------------------------- grounding
CONTEXT = "The invoice 4,711 of Miller & Sons is due on 3 May. Payments arrive within two days."


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Invoice 4711 is due on 3 May.", 1.0),
        ("The payment arrives within two days.", 1.0),
        ("It is due on 5 May.", 0.0),
        ("Invoice 4711 from Smith is due.", 0.0),
        ("Invoice 4711 is due. The moon consists of green cheese entirely.", 0.5),
        ("", 1.0),
        ("…", 1.0),
    ],
)
def test_an_answer_is_held_against_its_context(answer: str, score: float) -> None:
    assert grounded(answer, CONTEXT) == score


# ---------------------------------------------------------------- what is watched in each slice
def test_a_slow_dear_or_harmful_slice_stays_with_the_teacher_although_the_whole_passes() -> None:
    outcomes, names = evidence()
    bad = {
        "latency": (Latency(per_slice="watch"), {"latency_ms": 900.0}),
        "cost": (Cost(per_slice="watch"), {"scores": {"thrift": 0.0}}),
        "safety:pii": (Safety(event="pii", at_most=0.4, per_slice="watch"), {"scores": {"pii_free": 0.0}}),
    }
    for gate, change in bad.values():
        fine = {"thrift": 1.0, "pii_free": 1.0}
        changed = [
            msgspec.structs.replace(one, **({"scores": fine} | (change if name == "vip" else {})))
            for one, name in zip(outcomes, names, strict=True)
        ]
        decision = advance(STUDENT, changed, [Agreement(), gate], TERMS, names)
        assert isinstance(decision, Promote) and decision.deferred == ("vip",), gate
        apart = msgspec.structs.replace(gate, per_slice=msgspec.UNSET)
        together = advance(STUDENT, changed, [Agreement(), apart], TERMS, names)
        assert not (isinstance(together, Promote) and together.deferred)


def test_a_watched_gate_holds_no_slice_up_and_one_to_be_proven_does() -> None:
    outcomes, names = evidence()
    watched = Safety(event="pii", at_most=0.005, per_slice="watch")
    clean = [msgspec.structs.replace(one, scores={"pii_free": 1.0}) for one in outcomes]
    passed = advance(STUDENT, clean, [Agreement(), watched], TERMS, names)
    assert isinstance(passed, Promote) and passed.deferred == ()
    assert {one.verdict for one in passed.results if one.gate.endswith("/safety:pii")} == {"not_yet"}
    proven = msgspec.structs.replace(watched, per_slice="prove")
    assert isinstance(advance(STUDENT, clean, [Agreement(), proven], TERMS, names), Hold)


def test_certificates_from_before_slices_were_watched_mean_what_they_meant() -> None:
    assert msgspec.json.decode(b'{"type":"latency","max_p95_ms":500.0,"min_calls":60}', type=Latency) == Latency()
    assert b"per_slice" not in msgspec.json.encode(Latency())
