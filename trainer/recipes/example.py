"""What a recipe learns from and what it hands back: values only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import Struct

from gateway.storage.values import TokenThought
from trainer.artifacts.artifact import Parameters
from trainer.features.extraction import Extraction
from trainer.training.generative import Generative

SAME, DIFFERS, TAUGHT = -1, -2, -3
"""In place of a column: an extractor's answer was or was not the teacher's; the row taught the student itself, so
its answer says nothing."""
Tick = Callable[[float, str], None]
"""Hears progress in [0, 1] and what is being done."""
Note = Callable[[str, dict[str, Any]], None]
"""Hears what shall be kept as an event of the run."""


class Example(Struct, frozen=True):
    """One input with the teacher's answer, verbatim. ``tokens`` is the answer's length.

    ``weight`` 0: it teaches nothing, but is asked like all others when the student is cross-fitted. ``fold``:
    its part in cross-fitting, equal for near-identical inputs; None leaves it to chance. ``source``: a number for
    the key that sent it, None when there are too few keys to tell one's habits from everybody's.
    """

    text: str
    answer: str
    tokens: int = 1
    weight: float = 1.0
    fold: int | None = None
    source: int | None = None
    rejected: tuple[str, ...] = ()
    """Answers that were found worse than ``answer``."""
    teacher: tuple[TokenThought, ...] = ()
    """What the teacher thought of each token of its answer, where that was captured."""


def sources_of(examples: Sequence[Example]) -> list[int] | None:
    """Who sent each example; None when that is not known of all of them."""
    known = [example.source for example in examples if example.source is not None]
    return known if len(known) == len(examples) else None


class CannotLearn(Exception):
    """A recipe cannot do this task; the text says why, for a person."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A student's parameters. ``answers[i]`` belongs to column i; ``numbers`` go into the manifest."""

    answers: tuple[str, ...]
    max_answer_tokens: int
    parameters: Parameters | Extraction | Generative
    numbers: dict[str, float]
    crossfit: tuple[tuple[float, int], ...] = ()
    """(confidence, column) of every example, in order, by a model that never saw its fold; an extractor says SAME
    or DIFFERS in place of a column. TAUGHT: by no such model, the row does not calibrate."""
    parent: str | None = None
    """Digest of the artifact whose weights it began with."""


class Recipe(Protocol):
    """How a student is trained. Deterministic: equal examples and seed give equal parameters."""

    def train(self, examples: Sequence[Example], *, seed: int, tick: Tick) -> Trained:
        """Raises CannotLearn."""
