"""The watch over a serving student: has its agreement fallen, does it fail, is it slow?

Agreement is watched by a Shiryaev–Roberts e-detector on randomly re-asked calls. At every call a new gambler
starts with 1 and bets that agreement is below ``target − margin``, as in ``optimizer.stats.eprocess``
mirrored; the evidence is the sum of all their wealths. While agreement holds, its mean after n calls is at
most n, so the mean number of re-asked calls until a false alarm is at least the level it must reach. Unlike
an e-process read backwards, a long good run costs nothing: gamblers who start after the change have lost
nothing before it.

Source: Shin, Ramdas & Rinaldo, E-detectors: a nonparametric framework for sequential change detection, New
England Journal of Statistics in Data Science 2(2), 2024. Only calls re-asked at random may be fed: the ones
the student passed on are the hard ones.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from optimizer.stats.eprocess import BETS, check_null
from optimizer.stats.intervals import wilson

_LARGEST = 1e300  # keeps a forgotten alarm from overflowing


class WatchState(Struct, frozen=True):
    """``sums``: per bet, the summed wealth of all gamblers. ``alarm_at`` is the average run length, in
    re-asked calls. ``alarm_n``: the call at which the alarm was first raised; an alarm stays."""

    null: float
    alarm_at: float
    sums: tuple[float, ...] = (0.0,) * len(BETS)
    n: int = 0
    agreed: int = 0
    alarm_n: int | None = None

    @property
    def evidence(self) -> float:
        """Against "agreement ≥ null"; an alarm when it reaches ``alarm_at``."""
        return sum(self.sums) / len(BETS)

    @property
    def alarmed(self) -> bool:
        return self.alarm_n is not None


def start(target: float, margin: float, average_run_length: float) -> WatchState:
    """A watch that, while agreement ≥ target − margin, raises a false alarm once in ``average_run_length``
    re-asked calls at most, on average."""
    if average_run_length < 1:
        raise ValueError(f"the average run length must be at least 1 call, not {average_run_length}")
    return WatchState(null=check_null(target - margin), alarm_at=float(average_run_length))


def observe(state: WatchState, agree: bool) -> WatchState:
    """One more re-asked call. Costs about two microseconds."""
    # the outcome is 1 - agree and its null mean 1 - null: a disagreement gains, an agreement loses the bet
    gain = -1.0 if agree else 1 / (1 - state.null) - 1
    sums = tuple(
        min(_LARGEST, (1 + held) * (1 + bet * gain)) for held, bet in zip(state.sums, BETS, strict=True)
    )
    n = state.n + 1
    raised = state.alarm_n is None and sum(sums) >= state.alarm_at * len(BETS)
    return WatchState(
        null=state.null,
        alarm_at=state.alarm_at,
        sums=sums,
        n=n,
        agreed=state.agreed + bool(agree),
        alarm_n=n if raised else state.alarm_n,
    )


class Limits(Protocol):
    """What a task's ``watch:`` section says (``gateway.config.Watch`` is one)."""

    @property
    def max_error_rate(self) -> float: ...
    @property
    def max_p95_latency_ms(self) -> float: ...
    @property
    def max_cost_share(self) -> float: ...


MIN_CALLS = 20
"""Errors and latency are judged from this many recent calls on."""

MIN_PRICED = 200
"""What a student costs is judged from this many recent answers on: re-asks come in lumps."""

_SURE = 0.998  # two-sided, so one window in a thousand fires at exactly the limit


def health(errors: int, calls: int, p95_ms: float | None, limits: Limits) -> str | None:
    """Why a student should not go on serving, judged by a sliding window of its recent calls; else None.

    ``errors`` of ``calls`` student attempts failed; ``p95_ms`` is the 95th percentile of their times
    (``stats.intervals.percentile``), None when there is none. The error rate counts once its Wilson lower
    bound is above the limit.
    """
    if calls < MIN_CALLS:
        return None
    if wilson(errors, calls, _SURE)[0] > limits.max_error_rate:
        return f"{errors} of the last {calls} calls failed, above {limits.max_error_rate:.1%}"
    if p95_ms is not None and p95_ms > limits.max_p95_latency_ms:
        return (
            f"the 95th percentile of the last {calls} calls took {p95_ms:.0f} ms, "
            f"above {limits.max_p95_latency_ms:.0f} ms"
        )
    return None


def overpriced(answers: int, spent: float, teacher: float, limits: Limits) -> str | None:
    """Why a student does not pay, judged by a sliding window of its recent ``answers``; else None. ``spent`` on them,
    re-asks included, and what the ``teacher`` would have cost: US dollars."""
    if answers < MIN_PRICED or spent <= teacher * limits.max_cost_share:
        return None
    return (
        f"its last {answers} answers cost ${spent:.6f}, re-asks included, where the teacher would have cost "
        f"${teacher:.6f}: above {limits.max_cost_share:.0%} of it"
    )
