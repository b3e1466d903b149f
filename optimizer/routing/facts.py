"""What is known about a candidate for one call, what the call needs, and which candidates that leaves.

Every drop has a reason in words: it is what ``explain`` shows and what the client is told when nobody is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from optimizer.routing.plan import Candidate

Capability = Literal[
    "tools", "vision", "audio", "files", "json_object", "json_schema", "logprobs", "reasoning"
]
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)


class Facts(Struct, frozen=True):
    """One candidate as seen at one moment. None is "unknown", never zero.

    ``cost_usd`` is the estimate for this very call. Latencies are milliseconds over ``samples`` recent calls of
    the call's own kind: to the first byte when it streams, to the end otherwise. ``off``: why nobody may ask it.
    ``cuts_output``: who asks it for more tokens than ``max_output`` is given so many.
    """

    context_window: int | None = None
    max_output: int | None = None
    capabilities: frozenset[str] | None = None
    region: str = ""
    quality: float | None = None
    cost_usd: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    samples: int = 0
    off: str = ""
    cuts_output: bool = False


NOTHING_KNOWN = Facts()
View = Mapping[Candidate, Facts]


class Needs(Struct, frozen=True):
    """What a request asks for. ``input_tokens`` is an estimate, ``output_tokens`` the client's limit (0: none)."""

    input_tokens: int = 0
    output_tokens: int = 0
    capabilities: tuple[str, ...] = ()


class Constraints(Struct, frozen=True, forbid_unknown_fields=True):
    """What a candidate must satisfy to be asked at all.

    A latency is judged only on ``min_samples`` recent calls or more, else a new candidate could never begin.
    ``fit`` drops candidates that are known to lack what the request needs (context window, tools, images, ...).
    """

    max_cost_per_request_usd: Annotated[float, Meta(gt=0)] | None = None
    max_p95_latency_ms: Annotated[float, Meta(gt=0)] | None = None
    min_quality_score: Annotated[float, Meta(ge=0, le=1)] | None = None
    regions: list[str] = []
    requires: list[Capability] = []
    fit: bool = True
    min_samples: Annotated[int, Meta(ge=1, le=200)] = 20


Kind = Literal["off", "request", "policy", "state"]


class Considered(Struct, frozen=True):
    """One candidate and the verdict on it; ``reason`` is "" when it was kept.

    ``kind`` says whose doing a drop is: the ``request`` needs what the candidate lacks, the ``policy`` rules it
    out, the ``state`` of the moment does (latency), or it is switched ``off``.
    """

    candidate: Candidate
    facts: Facts
    reason: str = ""
    kind: Kind | Literal[""] = ""

    @property
    def kept(self) -> bool:
        return not self.reason


def judge(candidate: Candidate, facts: Facts, constraints: Constraints | None, needs: Needs) -> Considered:
    """The first reason against a candidate, or none."""
    kind, reason = _against(facts, constraints, needs)
    return Considered(candidate, facts, reason, kind)


def _against(facts: Facts, rules: Constraints | None, needs: Needs) -> tuple[Kind | Literal[""], str]:
    if facts.off:
        return "off", facts.off
    if rules is None:
        return "", ""
    return _unfit(facts, rules, needs) or _outside(facts, rules) or ("", "")


def _unfit(facts: Facts, rules: Constraints, needs: Needs) -> tuple[Kind, str] | None:
    """What the request asks for and the candidate does not have. Unknown abilities are not held against it,
    unless the policy itself requires them."""
    if rules.fit:
        window, most, written = facts.context_window, facts.max_output, needs.output_tokens
        if most is not None and facts.cuts_output:
            written = min(written, most)
        if window is not None and needs.input_tokens + written > window:
            asked = f"about {needs.input_tokens:,} tokens of input and {written:,} of output"
            return "request", f"context window: {asked} do not fit {window:,}"
        if most is not None and written > most:
            return "request", f"output: {written:,} tokens are more than its {most:,}"
        if facts.capabilities is not None:
            lacking = [one for one in needs.capabilities if one not in facts.capabilities]
            if lacking:
                return "request", f"capability: the request needs {', '.join(lacking)}"
    for one in rules.requires:
        if facts.capabilities is None:
            return "policy", f"capability: it is not known whether it has {one}"
        if one not in facts.capabilities:
            return "policy", f"capability: the policy requires {one}"
    return None


def _outside(facts: Facts, rules: Constraints) -> tuple[Kind, str] | None:
    if rules.regions and facts.region not in rules.regions:
        where = f"is in {facts.region}" if facts.region else "has no region"
        return "policy", f"region: it {where}, and only {', '.join(rules.regions)} is allowed"
    if rules.min_quality_score is not None:
        if facts.quality is None:
            return "policy", "quality: it has no quality score"
        if facts.quality < rules.min_quality_score:
            return "policy", f"quality: {facts.quality:g} is below {rules.min_quality_score:g}"
    most = rules.max_cost_per_request_usd
    if most is not None:
        if facts.cost_usd is None:
            return "policy", "cost: its price is unknown"
        if facts.cost_usd > most:
            return "request", f"cost: an estimated ${facts.cost_usd:.6f} is above ${most:g}"
    slow = rules.max_p95_latency_ms
    enough = facts.samples >= rules.min_samples
    if slow is not None and facts.p95_ms is not None and enough and facts.p95_ms > slow:
        seen = f"{facts.p95_ms:.0f} ms over {facts.samples} calls"
        return "state", f"latency: an observed p95 of {seen} is above {slow:g} ms"
    return None
