"""A language model's lesson on Ray Train: as many processes as the plan says, wherever the cluster puts them, one for
each accelerator (nccl) where there are enough, else on CPUs (gloo).

They are the processes that torchrun would start on one machine, and do the same. The job's folder and the base must lie
where every machine sees them, under the same path. A process that is lost is replaced, and all go on from the last
checkpoint.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from pathlib import Path
from typing import Any

from trainer.certify import code_version
from trainer.cluster.joined import ClusterAway, join
from trainer.recipes.example import CannotLearn, Tick
from trainer.training.order import SEEN, Heard, carry_out, silent

_REPLACED = 2
"""How often a group of processes is started anew before the training is given up."""
_LISTEN_S = 0.5
_AHEAD = 16
"""Messages that may wait to be heard; the first process waits with the next one."""


def by_cluster(address: str, workspace: Path, processes: int, tick: Tick) -> None:
    """Carries out the order in ``workspace``. Raises CannotLearn, ClusterAway."""
    join(address)
    from ray.util.queue import Queue

    heard = Queue(maxsize=_AHEAD, actor_options={"num_cpus": 0})
    told = Told(heard, tick)
    told.start()
    try:
        _fit(workspace, processes, heard)
    finally:
        told.finish()
    if told.refused:
        raise CannotLearn(told.refused)


def _fit(workspace: Path, processes: int, heard: Any) -> None:
    """Raises ClusterAway."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    on_gpus = ray.cluster_resources().get("GPU", 0) >= processes
    trainer = TorchTrainer(
        _one_of_them,
        train_loop_config={"workspace": str(workspace), "version": code_version(), "heard": heard},
        torch_config=TorchConfig(backend="nccl" if on_gpus else "gloo"),
        scaling_config=ScalingConfig(num_workers=processes, use_gpu=on_gpus),
        run_config=RunConfig(
            name=f"{time.time_ns():x}", storage_path=str(workspace / "ray"),
            failure_config=FailureConfig(max_failures=_REPLACED),
        ),
    )  # fmt: skip
    try:
        trainer.fit()
    except (TrainingFailedError, ray.exceptions.RayError) as problem:
        raise ClusterAway(f"training on the cluster broke: {_last_line(problem)}") from None


def _last_line(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[-1]


class Told:
    """Hands on what the first process says, while the trainer waits."""

    def __init__(self, heard: Any, tick: Tick) -> None:
        self.refused = ""
        self._heard, self._tick = heard, tick
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Returns when everything that was said before has been handed on."""
        self._over.set()
        self._thread.join()
        self._heard.shutdown(force=True)

    def _listen(self) -> None:
        from ray.exceptions import RayError

        while True:
            over = self._over.is_set()
            try:
                self._hand_on(self._heard.get(not over, None if over else _LISTEN_S))
            except queue.Empty:
                if over:
                    return
            except RayError:  # nobody is left to hear
                return

    def _hand_on(self, said: Heard) -> None:
        self.refused = self.refused or said.refused
        if said.step:
            self._tick(said.done, said.step)


def _one_of_them(config: dict[str, Any]) -> None:
    """Runs in each process of the cluster, which Ray has already made a group."""
    import torch
    from ray.train import get_context
    from ray.train.torch import get_device

    if code_version() != config["version"]:
        raise RuntimeError(f"this machine has another version of understudy than the trainer ({config['version']})")
    os.environ[SEEN] = "the cluster"
    if torch.cuda.is_available():
        torch.cuda.set_device(get_device())
    say = config["heard"].put if get_context().get_world_rank() == 0 else silent
    try:
        carry_out(Path(config["workspace"]), say)
    except SystemExit:  # one that is not the first, and has done its part
        return
