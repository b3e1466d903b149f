"""What is to be learnt, as a folder that other processes read, and what they leave there.

The folder lies where all of them see it. Checkpoints in it are written by the first process alone and read by all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.config import Generative as Plan
from trainer.recipes.example import CannotLearn, Example, Trained
from trainer.recipes.generative import Means
from trainer.training.generative import Generation, Generative

ORDER, RESULT = "order.json", "result.json"
SEEN = "UNDERSTUDY_TRAINING_FOR"
"""Set in the processes that train together: the id of the job's process."""


class Order(Struct, frozen=True):
    recipe: str
    plan: Plan
    seed: int
    examples: list[Example]
    parent: str = ""
    """The folder of the student to begin with."""


class Result(Struct, frozen=True):
    max_answer_tokens: int
    plan: Generation
    numbers: dict[str, float]
    parent: str | None = None


class Heard(Struct, frozen=True):
    """A line of the first process: progress, or why nothing can be learnt."""

    done: float = 0.0
    step: str = ""
    refused: str = ""


def give(recipe: str, examples: Sequence[Example], plan: Plan, means: Means, seed: int) -> None:
    """Writes the order into the workspace. Raises OSError."""
    workspace, parent = means.workspace, means.parent
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    (workspace / RESULT).unlink(missing_ok=True)
    lies = str(parent.parameters.folder) if parent and isinstance(parent.parameters, Generative) else ""
    order = Order(recipe, plan, seed, list(examples), lies)
    (workspace / ORDER).write_bytes(msgspec.json.encode(order))


def taken(workspace: Path) -> Trained:
    """What was learnt. Raises OSError when nothing was."""
    result = msgspec.json.decode((workspace / RESULT).read_bytes(), type=Result)
    model = Generative(workspace / "student", result.plan)
    return Trained((), result.max_answer_tokens, model, result.numbers, parent=result.parent)


def carry_out(workspace: Path, say: Callable[[Heard], None]) -> None:
    """In each of the processes, once they have found each other: the lesson. All but the first leave it by
    SystemExit."""
    order = msgspec.json.decode((workspace / ORDER).read_bytes(), type=Order)
    try:
        trained = _recipe(order, workspace).train(
            order.examples, seed=order.seed, tick=lambda done, step: say(Heard(done, step))
        )
    except CannotLearn as problem:
        say(Heard(refused=str(problem)))
        return
    assert isinstance(trained.parameters, Generative)
    result = Result(trained.max_answer_tokens, trained.parameters.plan, trained.numbers, trained.parent)
    (workspace / RESULT).write_bytes(msgspec.json.encode(result))


def _recipe(order: Order, workspace: Path) -> Any:
    from trainer.artifacts.artifact import load
    from trainer.recipes import LADDER, Means

    kind = next(one for one in LADDER if one.__struct_config__.tag == order.recipe)
    parent = load(Path(order.parent)) if order.parent else None
    return kind(means=Means(order.plan, workspace, parent=parent)).build()


def silent(_: Heard) -> None:
    """Only the first is heard."""
