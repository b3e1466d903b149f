"""One training by several processes: on this machine (``generative.processes``), started by torchrun, or on the cluster
that the policies name.

    python -m torch.distributed.run --standalone --nproc-per-node N -m trainer.training.together WORKSPACE

``teach`` writes what is to be learnt into the workspace, starts the processes and hears the first of them; none
outlives the job that asked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from gateway.config import Generative as Plan
from trainer.cluster import train
from trainer.recipes.example import CannotLearn, Example, Tick, Trained
from trainer.recipes.generative import Means
from trainer.training.order import SEEN, Heard, carry_out, give, silent, taken


def wanted(plan: Plan, means: Means) -> bool:
    """Whether a training must be handed to other processes: this is not one of them."""
    return (plan.processes > 1 or means.cluster is not None) and SEEN not in os.environ


def teach(recipe: str, examples: Sequence[Example], plan: Plan, means: Means, seed: int, tick: Tick) -> Trained:
    """What the recipe would return. Raises CannotLearn, ClusterAway, OSError."""
    give(recipe, examples, plan, means, seed)
    if means.cluster is not None:
        train.by_cluster(means.cluster, means.workspace, plan.processes, tick)
    else:
        _by_torchrun(means.workspace, plan.processes, tick)
    return taken(means.workspace)


def _by_torchrun(workspace: Path, processes: int, tick: Tick) -> None:
    arguments = ["--standalone", "--nproc-per-node", str(processes), "-m", __name__, str(workspace)]
    environment = os.environ | {SEEN: str(os.getpid()), "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
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
        raise CannotLearn(f"one of {processes} training processes broke (exit code {code}); the log says why")


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
    _die_with(int(os.environ[SEEN]))
    from trainer.training import shared

    shared.join()
    carry_out(Path(sys.argv[1]), _say if shared.rank() == 0 else silent)


def _say(heard: Heard) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(heard) + b"\n")
    sys.stdout.buffer.flush()


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
