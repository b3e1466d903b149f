"""Where a student is sure enough to answer: the cascade's threshold, with a finite-sample guarantee.

"Agreement on answered calls is at least ``target``" is tested at ever looser thresholds, strict to loose,
each with an exact binomial test, and the loosest threshold that was reached is taken. With probability at
least 1 − ``delta`` over the calibration calls, its true agreement is at least ``target``, for calls like
these (nothing is promised under drift: that is the watch's work).

Sources: fixed-sequence testing as in Angelopoulos, Bates, Candès, Jordan & Lei, Learn then Test, 2021;
several starting points share ``delta`` by the fallback procedure of Wiens, 2003 (Wiens & Dmitrienko, 2005): a
hypothesis is tested at its own share plus what the one before it was tested at, if that one was rejected. One
start alone would lose a good student whenever two of its hundred surest answers meet a teacher who
contradicts itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from msgspec import Struct

from optimizer.stats.intervals import clopper_pearson_lower

COARSE, FINE = 1.1, 1.03
"""Each point of the grid answers so many times the calls of the one before: coarse until half of all calls would be
answered (there a step is a few calls, and each look is one more chance to stop too early), fine beyond. The grid
looks at no label, so any step keeps the guarantee; a certificate names the one it was made with, older ones none."""
_START = 2.0  # a new start for each doubling


class Calibration(Struct, frozen=True):
    """A threshold and what it rests on. ``threshold`` None: no threshold can be certified.

    A call is answered when its confidence >= threshold. ``lower``: one-sided Clopper–Pearson bound of the
    agreement, at the confidence 1 − ``level`` at which the threshold was tested (level ≤ delta). ``tested``:
    how many thresholds were looked at. ``provisional``: nothing is certified; see ``suggest_threshold``.
    """

    threshold: float | None
    n: int
    answered: int
    agreed: int
    lower: float
    level: float
    tested: int
    target: float
    delta: float
    min_answered: int
    provisional: bool = False


def choose_threshold(
    confidence: Sequence[float],
    agree: Sequence[bool],
    *,
    target: float,
    delta: float,
    min_answered: int = 100,
    fine: float = FINE,
) -> Calibration:
    """The loosest certified threshold for calls with these confidences; ``agree``: matched the teacher.

    The calls must not have trained the student (out-of-fold predictions may be used) and must be independent.
    Raises ValueError when the sequences differ in length, a confidence is not a number in [0, 1], or target
    or delta lie outside (0, 1).
    """
    _check(confidence, agree, target, delta, min_answered)
    ranked = sorted(zip(confidence, agree, strict=True), key=lambda pair: -pair[0])
    agreed_of_first = [0]
    for _, match in ranked:
        agreed_of_first.append(agreed_of_first[-1] + bool(match))
    grid = _grid([-one for one, _ in ranked], min_answered, fine)
    best = Calibration(
        threshold=None, n=len(ranked), answered=0, agreed=0, lower=0.0, level=0.0, tested=0,
        target=target, delta=delta, min_answered=min_answered,
    )  # fmt: skip
    level, tested = 0.0, 0
    for answered, share in grid:
        level += share * delta
        if level == 0:
            continue
        tested += 1
        agreed = agreed_of_first[answered]
        lower = clopper_pearson_lower(agreed, answered, 1 - level)
        if lower < target:
            level = 0.0
            continue
        best = Calibration(
            threshold=float(ranked[answered - 1][0]), n=len(ranked), answered=answered, agreed=agreed,
            lower=lower, level=level, tested=tested, target=target, delta=delta, min_answered=min_answered,
        )  # fmt: skip
    return _with_tested(best, tested)


def suggest_threshold(
    confidence: Sequence[float],
    agree: Sequence[bool],
    *,
    target: float,
    delta: float,
    min_answered: int = 50,
) -> Calibration:
    """A threshold for a student that has too few calibration calls for a certified one.

    The loosest that answers ``min_answered`` calls or more and whose *observed* agreement is at least half-way
    from ``target`` to one. The half-way mark pays for having looked at all of them; no error rate is claimed,
    so such a student rests on its gates alone. ``lower`` is the Clopper–Pearson bound at 1 − delta of this one
    threshold. Raises as ``choose_threshold`` does.
    """
    _check(confidence, agree, target, delta, min_answered)
    ranked = sorted(zip(confidence, agree, strict=True), key=lambda pair: -pair[0])
    wanted, agreed, found = (1 + target) / 2, 0, (0, 0)
    for answered, (sure, match) in enumerate(ranked, start=1):
        agreed += bool(match)
        ends_here = answered == len(ranked) or ranked[answered][0] < sure  # equal confidences go together
        if ends_here and answered >= min_answered and agreed >= wanted * answered:
            found = answered, agreed
    answered, agreed = found
    return Calibration(
        threshold=float(ranked[answered - 1][0]) if answered else None, n=len(ranked), answered=answered,
        agreed=agreed, lower=clopper_pearson_lower(agreed, answered, 1 - delta), level=0.0, tested=0,
        target=target, delta=delta, min_answered=min_answered, provisional=True,
    )  # fmt: skip


def calibrate(
    pairs: Sequence[tuple[float, bool]], *, target: float, delta: float, min_answered: int,
    provisional: int | None, fine: float = FINE,
) -> Calibration:  # fmt: skip
    """The certified threshold for (confidence, agreed) calls; where there is none and ``provisional`` allows it, the
    suggested one that answers at least so many of them. Raises ValueError."""
    confidence, agree = [one for one, _ in pairs], [one for _, one in pairs]
    found = choose_threshold(
        confidence, agree, target=target, delta=delta, min_answered=min_answered, fine=fine
    )
    if found.threshold is not None or provisional is None:
        return found
    suggested = suggest_threshold(confidence, agree, target=target, delta=delta, min_answered=provisional)
    return found if suggested.threshold is None else suggested


def merit(found: Calibration) -> tuple[int, float, float]:
    """What the candidates of one round are compared by, the most first: a certified threshold before a provisional one
    before none, then the share of the calibration calls that it answers, then the share of those that agreed."""
    if found.threshold is None:
        return 0, 0.0, 0.0
    return 1 if found.provisional else 2, found.answered / found.n, found.agreed / found.answered


def _grid(negated: list[float], min_answered: int, fine: float = FINE) -> list[tuple[int, float]]:
    """(calls answered, share of delta) of each threshold, strict to loose; looks at confidences only.

    ``negated``: the confidences times −1, ascending. Equal confidences are answered together.
    """
    n = len(negated)
    counts: list[int] = []
    starts: set[int] = set()
    wanted, next_start = float(min_answered), float(min_answered)
    while n >= min_answered:
        step = COARSE if wanted < n / 2 else fine
        if wanted >= n * step:
            break
        answered = bisect_right(negated, negated[min(n, round(wanted)) - 1])
        if wanted >= next_start:
            starts.add(answered)
            next_start *= _START
        if not counts or answered > counts[-1]:
            counts.append(answered)
        wanted = max(wanted * step, wanted + 1)
    return [(answered, 1 / len(starts) if answered in starts else 0.0) for answered in counts]


def _with_tested(best: Calibration, tested: int) -> Calibration:
    fields = {name: getattr(best, name) for name in best.__struct_fields__}
    return Calibration(**(fields | {"tested": tested}))


def _check(
    confidence: Sequence[float], agree: Sequence[bool], target: float, delta: float, min_answered: int
) -> None:
    if len(confidence) != len(agree):
        raise ValueError(f"{len(confidence)} confidences but {len(agree)} comparisons")
    if not all(0 <= one <= 1 for one in confidence):
        raise ValueError("every confidence must be a number between 0 and 1")
    if not (0 < target < 1 and 0 < delta < 1):
        raise ValueError(f"target {target} and delta {delta} must lie between 0 and 1")
    if min_answered < 1:
        raise ValueError(f"min_answered must be at least 1, not {min_answered}")
