"""One training by several processes on one machine (``generative.processes``), started by torchrun.

    python -m torch.distributed.run --standalone --nproc-per-node N -m trainer.training.together WORKSPACE

``teach`` writes what is to be learnt into the workspace, starts the processes and hears the first of them; none
outlives the job that asked. Checkpoints are written by the first alone and read by all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.config import Generative as Plan
from trainer.recipes.example import CannotLearn, Example, Tick, Trained
from trainer.recipes.generative import Means
from trainer.training.generative import Generation, Generative

_ORDER, _RESULT = "order.json", "result.json"
_SEEN = "UNDERSTUDY_TRAINING_FOR"
"""Set in the processes: the id of the job's process."""


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


def wanted(plan: Plan) -> bool:
    """Whether a training must be handed to several processes: this is not one of them."""
    return plan.processes > 1 and _SEEN not in os.environ


def teach(recipe: str, examples: Sequence[Example], plan: Plan, means: Means, seed: int, tick: Tick) -> Trained:
    """What the recipe would return. Raises CannotLearn, OSError."""
    workspace, parent = means.workspace, means.parent
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    (workspace / _RESULT).unlink(missing_ok=True)
    lies = str(parent.parameters.folder) if parent and isinstance(parent.parameters, Generative) else ""
    order = Order(recipe, plan, seed, list(examples), lies)
    (workspace / _ORDER).write_bytes(msgspec.json.encode(order))
    arguments = ["--standalone", "--nproc-per-node", str(plan.processes), "-m", __name__, str(workspace)]
    environment = os.environ | {_SEEN: str(os.getpid()), "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment)
    try:
        refused = _heard(process, tick)
        code = process.wait()
    finally:
        process.kill()
        process.wait()
    if refused:
        raise CannotLearn(refused)
    if code != 0:
        raise CannotLearn(f"one of {plan.processes} training processes broke (exit code {code}); the log says why")
    result = msgspec.json.decode((workspace / _RESULT).read_bytes(), type=Result)
    model = Generative(workspace / "student", result.plan)
    return Trained((), result.max_answer_tokens, model, result.numbers, parent=result.parent)


def _heard(process: subprocess.Popen[bytes], tick: Tick) -> str:
    refused = ""
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            try:
                said = msgspec.json.decode(line, type=Heard)
            except msgspec.MsgspecError:
                continue
            refused = refused or said.refused
            if said.step:
                tick(said.done, said.step)
    return refused


# ---------------------------------------------------------------- one of the processes
def main() -> None:
    _die_with(int(os.environ[_SEEN]))
    from trainer.training import shared

    workspace = Path(sys.argv[1])
    order = msgspec.json.decode((workspace / _ORDER).read_bytes(), type=Order)
    shared.join()
    say = _say if shared.rank() == 0 else _silent
    try:
        trained = _recipe(order, workspace).train(
            order.examples, seed=order.seed, tick=lambda done, step: say(Heard(done, step))
        )
    except CannotLearn as problem:
        say(Heard(refused=str(problem)))
        return
    assert isinstance(trained.parameters, Generative)
    result = Result(trained.max_answer_tokens, trained.parameters.plan, trained.numbers, trained.parent)
    (workspace / _RESULT).write_bytes(msgspec.json.encode(result))


def _recipe(order: Order, workspace: Path) -> Any:
    from trainer.artifacts.artifact import load
    from trainer.recipes import LADDER, Means

    kind = next(one for one in LADDER if one.__struct_config__.tag == order.recipe)
    parent = load(Path(order.parent)) if order.parent else None
    return kind(means=Means(order.plan, workspace, parent=parent)).build()


def _say(heard: Heard) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(heard) + b"\n")
    sys.stdout.buffer.flush()


def _silent(_: Heard) -> None:
    """Only the first is heard."""


def _die_with(job: int) -> None:
    """Ends this process, and torchrun's above it, when the job or torchrun dies."""
    above = os.getppid()

    def watch(alive: Callable[[], bool]) -> None:
        while alive():
            time.sleep(0.25)
        if os.getppid() == above:
            os.kill(above, 9)
        os._exit(1)

    threading.Thread(target=watch, args=(lambda: os.getppid() == above and _lives(job),), daemon=True).start()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
