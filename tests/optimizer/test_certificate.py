from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from optimizer.certificate import (
    Certificate,
    Envelope,
    Log,
    Screening,
    chain_problems,
    conclude,
    digest,
    hidden,
    read_certificate,
    read_envelope,
    recompute,
    salted,
    to_json,
)
from optimizer.gates import Agreement, Latency, Outcome, terms_of
from optimizer.stats.multiplicity import divide

LEVELS = divide(0.05, 0.05, 2, earlier_promotions=1)


def draft(**fields: Any) -> Certificate:
    base: dict[str, Any] = {
        "kind": "shadow",
        "student": "s1",
        "project": "p",
        "task": "t",
        "fingerprint": "f" * 16,
        "version": 2,
        "recipe": "classifier",
        "epoch": 5,
        "artifact": "a" * 64,
        "dataset": "d" * 64,
        "seed": 0,
        "code_version": "0.1.0",
        "created_at": 1_700_000_000.0,
        "terms": terms_of(0.95, 0.02, LEVELS),
        "multiplicity": LEVELS,
        "gates": (Agreement(), Latency()),
    }
    return Certificate(**(base | fields))


def shadow() -> Certificate:
    rng = np.random.default_rng(1)
    log = [
        Outcome(
            f"call-{i}", "session-1" if i % 97 == 0 else "", bool(c >= 0.4), bool(a), float(c), 3.0 + i % 5
        )
        for i, (c, a) in enumerate(zip(rng.random(900), rng.random(900) < 0.98, strict=True))
    ]
    return conclude(draft(evidence=Log(outcomes=hidden(log, "salt")), threshold=0.4, prev="e" * 64))


def screening() -> Certificate:
    rng = np.random.default_rng(2)
    pairs = [(float(c), bool(a)) for c, a in zip(rng.random(900), rng.random(900) < 0.99, strict=True)]
    evidence = Screening(calibration=tuple(pairs[:600]), holdout=tuple(pairs[600:]))
    return conclude(draft(kind="screening", evidence=evidence))


def provisional() -> Certificate:
    pairs = [(1 - i / 500, i < 70) for i in range(300)]
    evidence = Screening(calibration=tuple(pairs), holdout=tuple(pairs[:40]), provisional=50)
    return conclude(draft(kind="screening", evidence=evidence))


GOOD = {"shadow": shadow(), "screening": screening(), "provisional": provisional()}


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_a_certificate_follows_from_its_own_evidence_even_after_a_journey(kind: str) -> None:
    certificate = GOOD[kind]
    assert certificate.verdict == "promote"
    assert recompute(certificate) == []
    read = read_certificate(to_json(certificate))
    assert recompute(read) == []
    assert digest(read) == digest(certificate)


def test_stages_follow_from_the_kind() -> None:
    assert [(c.from_stage, c.to_stage) for c in (GOOD["screening"], GOOD["shadow"])] == [
        ("candidate", "shadow"),
        ("shadow", "canary"),
    ]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [found for key in value for found in leaves(value[key], (*path, key))]
    if isinstance(value, list):
        return [found for i, one in enumerate(value) for found in leaves(one, (*path, i))]
    return [path]


def flipped(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * (1 + 2**-20) + 2**-20
    if value is None:
        return "0"
    return {"promote": "hold", "pass": "fail"}.get(
        value, "0" + value[1:] if value[:1] != "0" else "1" + value[1:]
    )


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_any_change_of_any_field_is_found(kind: str) -> None:
    data = msgspec.json.decode(to_json(GOOD[kind]))
    rng = np.random.default_rng(0)
    paths = [path for path in leaves(data) if path[-1] != "type"]
    few = [path for path in paths if path[0] != "evidence"]
    many = [path for path in paths if path[0] == "evidence"]
    chosen = few + [many[i] for i in rng.choice(len(many), size=40, replace=False)]
    missed = []
    for path in chosen:
        changed = msgspec.json.decode(to_json(GOOD[kind]))
        holder = changed
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = flipped(holder[path[-1]])
        try:
            found = recompute(msgspec.convert(changed, Certificate))
        except msgspec.ValidationError:
            found = ["not even a certificate"]
        if not found:
            missed.append(path)
    assert missed == []


def change(certificate: Certificate, **fields: Any) -> list[str]:
    return recompute(msgspec.structs.replace(certificate, **fields))


def test_forged_conclusions_name_what_is_wrong() -> None:
    good = GOOD["shadow"]
    bad_log = Log(outcomes=tuple(msgspec.structs.replace(o, agree=False) for o in good.evidence.outcomes))
    honest = conclude(msgspec.structs.replace(good, evidence=bad_log))
    assert honest.verdict == "reject"
    assert recompute(honest) == ["its verdict is reject, which allows no transition"]
    forged = "\n".join(change(honest, verdict="promote", results=good.results))
    assert "verdict says promote, but reject follows" in forged
    assert "agreement: says pass, but fail follows" in forged


def test_a_bigger_error_budget_than_the_rounds_is_found() -> None:
    good = GOOD["shadow"]
    generous = msgspec.structs.replace(good.terms, alpha=0.05)
    again = conclude(msgspec.structs.replace(good, terms=generous))
    assert any("terms.alpha says 0.05" in problem for problem in recompute(again))


def test_the_level_of_false_discovery_is_derived_again() -> None:
    levels = divide(0.05, 0.05, 2, earlier_promotions=1, control="discovery")
    good = GOOD["shadow"]
    found = conclude(msgspec.structs.replace(good, multiplicity=levels, terms=terms_of(0.95, 0.02, levels)))
    assert recompute(found) == []
    claimed = msgspec.structs.replace(levels, earlier_promotions=0)
    forged = conclude(msgspec.structs.replace(found, multiplicity=claimed))
    assert any("multiplicity.alpha says" in problem for problem in recompute(forged))


def test_evidence_below_the_threshold_is_found() -> None:
    again = conclude(msgspec.structs.replace(GOOD["shadow"], threshold=0.6))
    assert any("below the threshold" in problem for problem in recompute(again))


def test_the_chain_is_part_of_it() -> None:
    for problems in (change(GOOD["shadow"], prev=None), change(GOOD["screening"], prev="e" * 64)):
        assert "only it, has none before it" in problems[-1]


def test_the_next_certificate_of_a_student_follows_its_last() -> None:
    first = GOOD["screening"]
    second = conclude(msgspec.structs.replace(GOOD["shadow"], prev=digest(first), threshold=first.threshold))
    assert chain_problems(second, first) == []
    assert chain_problems(msgspec.structs.replace(second, threshold=0.9), first) == [
        "threshold differs from the certificate before it"
    ]
    assert len(chain_problems(first, first)) == 2


def test_kind_and_evidence_belong_together() -> None:
    with pytest.raises(ValueError, match="cannot rest on log evidence"):
        conclude(msgspec.structs.replace(GOOD["shadow"], kind="screening"))
    assert "cannot rest on" in change(GOOD["screening"], kind="canary")[0]
    assert "format 9" in change(GOOD["shadow"], format=9)[0]


def test_names_are_hidden_but_stay_distinct() -> None:
    assert b"session-1" not in to_json(GOOD["shadow"])
    assert salted("a", "x") == salted("a", "x") != salted("a", "y")
    one, two = hidden(
        [Outcome("a", "a", True, True, 1.0, 1.0), Outcome("b", "", True, True, 1.0, 1.0)], salt="x"
    )
    assert one.call == one.cluster
    assert two.cluster == ""


def test_whole_numbers_in_float_fields_do_not_change_the_bytes() -> None:
    whole = msgspec.structs.replace(GOOD["screening"], created_at=1_700_000_000)
    assert to_json(whole) == to_json(GOOD["screening"])


def test_envelopes_travel_as_canonical_json() -> None:
    envelope = Envelope(certificate=GOOD["screening"], signature="c2ln", public_key="a2V5")
    data = to_json(envelope)
    assert read_envelope(data) == envelope
    assert to_json(GOOD["screening"]) in data


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[" * 5000, b'{"kind":"party"}'])
def test_what_is_no_certificate_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a certificate"):
        read_certificate(data)


def test_hiding_names_changes_no_verdict() -> None:
    """Sessions of several calls, calls that repeat and calls that name themselves judge the same when hidden."""
    rng = np.random.default_rng(5)
    log = [
        Outcome(f"c{i % 700}", ["", f"s{i // 9}", f"c{i % 700}"][i % 3], True, bool(a), 0.9, 2.0)
        for i, a in enumerate(rng.random(800) < 0.97)
    ]
    terms = terms_of(0.95, 0.02, LEVELS)
    assert Agreement().judge(hidden(log, "salt"), terms) == Agreement().judge(log, terms)


def test_a_provisional_threshold_says_so_and_needs_the_policies_leave() -> None:
    granted = GOOD["provisional"]
    assert "the gates alone have to prove it" in granted.results[0].reason
    evidence = msgspec.structs.replace(granted.evidence, provisional=msgspec.UNSET)
    refused = conclude(msgspec.structs.replace(granted, evidence=evidence))
    assert (granted.verdict, refused.verdict) == ("promote", "reject")
    assert b"provisional" not in to_json(GOOD["screening"])  # certificates from before keep their digest
