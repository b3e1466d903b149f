"""A betting e-process for the mean of outcomes in [0, 1]: evidence that may be looked at after every outcome.

H0: given everything before, the mean of the next outcome is at most ``null``. A gambler starts with 1 and
stakes a fixed fraction on each outcome being above the null; H0 makes the game unfavourable, so the chance
that the wealth *ever* reaches 1/alpha is at most alpha (Ville 1939). Nobody knows the best stake beforehand,
so the starting money is divided evenly among a grid of stakes and the wealths are added (a mixture).

Source: Waudby-Smith & Ramdas, Estimating means of bounded random variables by betting, JRSS B 86(1), 2024.
The mirrored question (H0: the mean is at least ``null``) is the same game on 1 − outcome against 1 − null.
"""

from __future__ import annotations

from math import exp, log, log1p
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BETS: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.35, 0.55, 0.8)
"""Shares of the wealth that a stake puts at risk: after an outcome of 0, 1 − bet of it is left."""

_LARGEST = 690.0  # exp of it is still a finite float


class EProcess(Struct, frozen=True):
    """Wealth so far. ``logs``: natural logarithm of each stake's wealth, in the order of BETS."""

    null: float
    logs: tuple[float, ...] = (0.0,) * len(BETS)
    n: int = 0
    log_wealth: float = 0.0
    log_best: float = 0.0

    @property
    def e_value(self) -> float:
        """The wealth now."""
        return to_e_value(self.log_wealth)

    @property
    def best(self) -> float:
        """The largest wealth so far; H0 may be rejected at level alpha once it reached 1/alpha."""
        return to_e_value(self.log_best)


def start(null: float, *, mirrored: bool = False) -> EProcess:
    """An e-process against "mean ≤ null", or, mirrored, against "mean ≥ null" (then feed 1 − outcome)."""
    return EProcess(null=check_null(1 - null if mirrored else null))


def update(state: EProcess, outcome: float) -> EProcess:
    """One more outcome in [0, 1]."""
    if not 0 <= outcome <= 1:
        raise ValueError(f"outcome {outcome} is outside [0, 1]")
    gain = outcome / state.null - 1  # in units of the stake: -1 loses all of it
    logs = tuple(held + log1p(bet * gain) for held, bet in zip(state.logs, BETS, strict=True))
    wealth = _log_mean(logs)
    return EProcess(
        null=state.null,
        logs=logs,
        n=state.n + 1,
        log_wealth=wealth,
        log_best=max(state.log_best, wealth),
    )


def log_wealth(outcomes: Any, null: float, *, mirrored: bool = False) -> NDArray[np.float64]:
    """The logarithm of the wealth after each outcome, for whole sequences at once.

    ``outcomes`` is array-like of shape (..., n) with values in [0, 1] and the last axis is time; the result
    has the same shape. Equals folding ``update``.
    """
    import numpy as np

    values = np.asarray(outcomes, dtype=np.float64)
    if mirrored:
        values, null = 1 - values, 1 - null
    gain = values / check_null(null) - 1
    total: NDArray[np.float64] | None = None
    for bet in BETS:  # one stake at a time keeps memory at one copy of the input
        held = np.cumsum(np.log1p(bet * gain), axis=-1)
        total = held if total is None else np.logaddexp(total, held)
    assert total is not None
    return total - log(len(BETS))


def to_e_value(log_value: float) -> float:
    """The e-value of a log wealth, as the largest finite float where it would overflow."""
    return exp(min(log_value, _LARGEST))


def check_null(null: float) -> float:
    """``null`` itself; raises ValueError unless it lies strictly between 0 and 1."""
    if not 0 < null < 1:
        raise ValueError(f"the null value must lie between 0 and 1, not {null}; check target and margin")
    return null


def _log_mean(logs: tuple[float, ...]) -> float:
    top = max(logs)
    return top + log(sum(exp(one - top) for one in logs) / len(logs))
