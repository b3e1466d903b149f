"""What the recipes that train with torch have in common: what they need, and that it is there."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from gateway.config import FineTune, Generative
from trainer.recipes.example import CannotLearn, Example

_PACKAGES = ("torch", "transformers", "peft")


class Means(Struct, frozen=True):
    """``plan``: the task's word on it, None when it names no base. ``workspace``: a folder for checkpoints and for the
    student's files; what lies there from an earlier attempt is gone on with. ``fine_tune``: how an encoder is trained,
    None when it is not."""

    plan: Generative | None = None
    workspace: Path = Path()
    fine_tune: FineTune | None = None

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
