"""What routing decides: values only."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Role = Literal["student", "teacher", "plain"]


class Candidate(Struct, frozen=True):
    """A (provider, model) that may answer a task's calls; ``variant`` names decoding parameters of its own."""

    provider: str
    model: str
    variant: str = ""

    @property
    def name(self) -> str:
        plain = f"{self.provider}/{self.model}"
        return f"{plain}@{self.variant}" if self.variant else plain


class Choice(Struct, frozen=True):
    """An order of candidates and the probability with which its first member was put first."""

    order: tuple[Candidate, ...]
    propensity: float


class Rung(Struct, frozen=True):
    """One step of a plan. A student answers only at ``threshold`` confidence or above."""

    candidate: Candidate
    role: Role
    student: str | None = None
    threshold: float = 0.0


class Plan(Struct, frozen=True):
    """The ordered rungs of one call, and why: ``arm`` and ``propensity`` are written on the call so that any
    other policy can be replayed against it."""

    rungs: tuple[Rung, ...]
    strategy: str
    arm: Literal["teacher", "canary", "live", "plain"]
    propensity: float
    reason: str
    scope: str = ""
    """The bandit that drew, "" when none did."""
