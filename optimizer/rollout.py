"""The life of a student: candidate → shadow → canary → live → retired."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Stage(StrEnum):
    CANDIDATE = "candidate"
    SHADOW = "shadow"
    CANARY = "canary"
    LIVE = "live"
    RETIRED = "retired"


class Student(Struct, frozen=True):
    """One trained version of a task's student and where it stands.

    ``epoch`` is the number of the journal entry that put it into its stage: decisions name the epoch they were
    made at, so that a stale promotion loses against a newer demotion. ``round`` counts the task's trainings
    from 1; error budgets are spent over rounds. ``threshold`` is the cascade's least confidence.
    """

    id: str
    project: str
    task: str
    fingerprint: str
    version: int
    recipe: str
    round: int
    threshold: float
    stage: Stage = Stage.CANDIDATE
    paused: bool = False
    epoch: int = 0
    certificate: str | None = None
    artifact: str = ""
    max_answer_tokens: int = 1
