"""What gates judge and what they say: values shared by every gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from optimizer.stats.eprocess import log_wealth, to_e_value
from optimizer.stats.multiplicity import Multiplicity

PerSlice = Literal["prove", "watch"]
"""``prove``: a slice is served only once it has passed the gate by itself. ``watch``: one that fails it by itself is
left with the teacher; one that is undecided is carried by what the gate says of all calls."""


class Terms(Struct, frozen=True):
    """What is demanded of a student. ``alpha`` and ``delta`` are already spent for the round.

    ``target``: agreement that calibration certifies. ``margin``: how far below it a gate's null lies.
    ``alpha``: chance of a false promotion. ``delta``: chance that the threshold's guarantee fails.
    """

    target: float
    margin: float
    alpha: float
    delta: float


def terms_of(target: float, margin: float, multiplicity: Multiplicity) -> Terms:
    """A round's terms from a task's target and margin and the round's share of the error budgets."""
    return Terms(target=target, margin=margin, alpha=multiplicity.alpha, delta=multiplicity.delta)


class Outcome(Struct, frozen=True, array_like=True):
    """One call that the student and the teacher both answered, in call order.

    ``cluster`` is the session ("" or the call itself when there is none). ``answered``: the student's
    confidence reached its threshold. ``latency_ms`` is the student's own time. ``scores``: what the scorers that
    gates name said of the student's answer, in [0, 1], and what a client's correction says (``gates.truth``).
    In JSON an array in field order.
    """

    call: str
    cluster: str
    answered: bool
    agree: bool
    confidence: float
    latency_ms: float
    scores: dict[str, float] = {}


Verdict = Literal["pass", "fail", "not_yet"]


class GateResult(Struct, frozen=True):
    """A gate's verdict, the sentence for people, and every number it rests on."""

    gate: str
    verdict: Verdict
    reason: str
    numbers: dict[str, float]


class Watched(Struct, frozen=True):
    """What gates have in common that slices may be held to or not; left out: they look at all calls together."""

    per_slice: PerSlice | UnsetType = UNSET


def wealths(means: Sequence[float], null: float, *, mirrored: bool) -> tuple[float, float]:
    """What an e-process against ``null`` is worth: (now, at its best so far); 1 before any evidence."""
    path = log_wealth(means, null, mirrored=mirrored)
    if path.size == 0:
        return 1.0, 1.0
    return to_e_value(float(path[-1])), to_e_value(max(0.0, float(path.max())))
