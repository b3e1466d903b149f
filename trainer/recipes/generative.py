"""What the recipes that train with torch have in common: what they need, and that it is there."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.config import FineTune, Generative, Search
from trainer.artifacts.artifact import Artifact
from trainer.recipes.example import CannotLearn, Example, Note
from trainer.recipes.space import Dimension, Value
from trainer.training import bases
from trainer.training.generative import rule_of_thumb

_PACKAGES = ("torch", "transformers", "peft")


def _nobody(_: str, __: dict[str, Any]) -> None:
    """Nobody listens."""


class Means(Struct, frozen=True):
    """``plan``: the task's word on it, None when it names no base. ``workspace``: a folder for checkpoints and for the
    student's files; what lies there from an earlier attempt is gone on with. ``fine_tune``: how an encoder is trained,
    None when it is not. ``search``: what its settings may cost to find; ``note`` hears of each trial.
    ``parent``: the student to begin with, where it has the same base. ``cluster``: the address of the Ray cluster that
    trains language models, None for this machine."""

    plan: Generative | None = None
    workspace: Path = Path()
    fine_tune: FineTune | None = None
    search: Search | None = None
    parent: Artifact | None = None
    note: Note = _nobody
    cluster: str | None = None

    def space(self) -> list[Dimension]:
        """What a search may change of the plan. Raises CannotLearn when there is none, or no base."""
        plan = self.ready(())
        usual = usual_rate(plan)
        found = [
            Dimension("learning_rate", "real", usual, usual / 8, usual * 4),
            Dimension("epochs", "whole", plan.epochs, 1, max(2, 2 * plan.epochs)),
        ]
        if plan.adapt != "full":
            found.append(Dimension("rank", "whole", plan.rank, min(4, plan.rank), max(32, plan.rank)))
        return found

    def with_values(self, values: dict[str, Value]) -> Means:
        """The means of a trial: the plan with its values."""
        assert self.plan is not None
        return msgspec.structs.replace(self, plan=msgspec.structs.replace(self.plan, **values))

    def ready(self, examples: Sequence[Example]) -> Generative:
        """The plan. Raises CannotLearn when something is missing."""
        if self.plan is None:
            raise CannotLearn("no base model is configured (learn.generative.base)")
        missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise CannotLearn(f"{', '.join(missing)} is not installed: pip install 'understudy[train]'")
        if any(example.fold is not None for example in examples):
            raise CannotLearn("a language model is not cross-fitted: set learn.calibration: split")
        return self.plan


def usual_rate(plan: Generative) -> float:
    """The learning rate of a plan: its own, or by its base's width. Raises CannotLearn when there is no base."""
    if plan.learning_rate is not None:
        return plan.learning_rate
    try:
        return rule_of_thumb(bases.find(plan.base, download=plan.download).width, plan.adapt)
    except bases.BaseRefused as problem:
        raise CannotLearn(str(problem)) from None
