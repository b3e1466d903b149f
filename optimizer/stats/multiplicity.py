"""Many looks, many candidates, many rounds: how an error budget is divided so that the whole stays within it.

* within a round of several candidates: Bonferroni (a false promotion of any of them counts once) over those that
  gates judge, which were picked before the gates' evidence was there (``Picked``): one, or several side by side;
* over rounds (retrains) of a task: ``spend``, a convergent series, so that the chance of *ever* promoting a
  bad student of the task stays below the budget (family-wise error);
* over rounds, as a false discovery rate: e-LOND, which gives back error budget for promotions that were made.
  Its level is never below ``spend``, so a gate that passes at the spent level passes e-LOND's too; both are
  on the certificate, and the policies choose which one decides.
"""

from __future__ import annotations

from math import pi
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

Control = Literal["family", "discovery"]
"""What is kept over a task's rounds: the chance of ever promoting a bad student, or their share of the promoted."""

Picked = Literal["calibration"]
"""The candidates that gates judge, on calls that came later, were picked by their calibration calls. Only the picked
ones share ``alpha``: given the pick, the evidence is theirs alone. The thresholds of all candidates were looked at to
pick, so they share ``delta``."""


class Multiplicity(Struct, frozen=True):
    """How a round's error levels were derived from the task's budgets; on every certificate.

    ``alpha`` and ``delta`` are the levels in force; ``e_lond`` is the false-discovery level of the same round, which
    ``alpha`` equals where ``control`` is ``discovery`` (left out: ``family``). ``picked`` says that only ``together``
    of the candidates were ever judged by gates (left out: one; without ``picked`` all of them may be).
    """

    round: int
    candidates: int
    earlier_promotions: int
    alpha_budget: float
    delta_budget: float
    alpha: float
    delta: float
    e_lond: float
    control: Control | UnsetType = UNSET
    picked: Picked | UnsetType = UNSET
    together: int | UnsetType = UNSET


def share_of_round(round: int) -> float:
    """The part of a budget that belongs to a round, 6 / (π²·round²); the parts of all rounds add up to 1."""
    if round < 1:
        raise ValueError(f"rounds count from 1, not {round}")
    return 6 / (pi**2 * round**2)


def spend(budget: float, round: int) -> float:
    """The error level of one round, so that all rounds together stay within ``budget``."""
    return budget * share_of_round(round)


def within_round(level: float, candidates: int) -> float:
    """The level of each candidate of a round (Bonferroni), so that the round stays within ``level``."""
    if candidates < 1:
        raise ValueError(f"a round has at least one candidate, not {candidates}")
    return level / candidates


def e_lond(alpha: float, round: int, earlier_promotions: int) -> float:
    """The level of a round under e-LOND: alpha · share(round) · (promotions so far + 1).

    Promote when the round's e-value reaches 1 / level. The false discovery rate over all rounds is at most
    ``alpha``, however the rounds' evidence depends on each other (Xu & Ramdas, Online multiple testing with
    e-values, AISTATS 2024).
    """
    if not 0 <= earlier_promotions < round:
        raise ValueError(f"{earlier_promotions} promotions cannot precede round {round}")
    return alpha * share_of_round(round) * (earlier_promotions + 1)


def divide(
    alpha: float,
    delta: float,
    round: int,
    *,
    candidates: int = 1,
    earlier_promotions: int = 0,
    control: Control | UnsetType = UNSET,
    picked: Picked | UnsetType = UNSET,
    together: int | UnsetType = UNSET,
) -> Multiplicity:
    """The error levels of one candidate of a round, from a task's budgets ``alpha`` and ``delta``."""
    discovery = e_lond(alpha, round, earlier_promotions)
    level = discovery if control == "discovery" else spend(alpha, round)
    judged = (together or 1) if picked == "calibration" else candidates
    return Multiplicity(
        round=round,
        candidates=candidates,
        earlier_promotions=earlier_promotions,
        alpha_budget=alpha,
        delta_budget=delta,
        alpha=within_round(level, judged),
        delta=within_round(spend(delta, round), candidates),
        e_lond=within_round(discovery, judged),
        control=control,
        picked=picked,
        together=together,
    )
