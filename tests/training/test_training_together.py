"""Several processes train one student: what comes out is what one process makes, and none outlives its job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from test_training import QUEUES, THINGS, plan, tickets

from trainer.artifacts.predictor import answer
from trainer.artifacts.registry import store
from trainer.recipes import CannotLearn, Means, train_first
from trainer.training.order import ORDER, Order


def train(base: Path, workspace: Path, processes: int, heard: list[str] | None = None):
    how = plan(base, processes=processes, epochs=3)
    tick = lambda _, step: heard.append(step) if heard is not None else None  # noqa: E731
    return train_first(["sft"], tickets(), seed=1, tick=tick, means=Means(how, workspace))[1]


def test_two_processes_learn_what_one_learns(torch, base, tmp_path) -> None:
    heard: list[str] = []
    alone, together = train(base, tmp_path / "one", 1), train(base, tmp_path / "two", 2, heard)
    assert sum(step.startswith("step ") for step in heard) == alone.numbers["steps"]
    for number in ("first_loss", "last_loss", "selection_loss"):
        assert together.numbers[number] == pytest.approx(alone.numbers[number], rel=1e-3, abs=1e-4)
    assert together.numbers["tokens"] == alone.numbers["tokens"]
    artifact = store(tmp_path / "triage-abcd-v1", "sft", together, "d" * 64, 1)
    said = [one for ((one, _),) in answer(artifact.parameters, [], [f"my {thing} is broken 999" for thing in THINGS])]
    assert set(said) <= set(QUEUES)


def test_what_cannot_be_learnt_is_said_by_the_first(torch, base, tmp_path) -> None:
    with pytest.raises(CannotLearn, match="only 5 usable examples"):
        means = Means(plan(base, processes=2), tmp_path / "work")
        train_first(["sft"], tickets(5), seed=1, tick=lambda *_: None, means=means)


def test_no_process_outlives_its_job(torch, base, tmp_path) -> None:
    """The job is killed as the system kills; torchrun and what it started end by themselves."""
    order = Order("sft", plan(base, processes=2, epochs=500, patience=500), 1, tickets())
    work = tmp_path / "work"
    code = (
        "import sys, msgspec, pathlib; from trainer.training.together import Means, teach; from trainer.training.order import Order\n"
        "order = msgspec.json.decode(pathlib.Path(sys.argv[1]).read_bytes(), type=Order)\n"
        "tick = lambda done, step: print(step, flush=True)\n"
        "means = Means(order.plan, pathlib.Path(sys.argv[2]))\n"
        "teach(order.recipe, order.examples, order.plan, means, order.seed, tick)\n"
    )
    (tmp_path / ORDER).write_bytes(msgspec.json.encode(order))
    command = [sys.executable, "-c", code, str(tmp_path / ORDER), str(work)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as job:
        assert job.stdout is not None
        while not job.stdout.readline().startswith(b"step "):
            assert job.poll() is None
        assert len(_working_on(work)) == 3  # torchrun and two processes
        os.kill(job.pid, signal.SIGKILL)
        until = time.monotonic() + 300
        while _working_on(work) and time.monotonic() < until:
            time.sleep(0.1)
        assert not _working_on(work)


def _working_on(workspace: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(workspace).encode() in words and b"-c" not in words and state != "Z":
            found.append(int(entry.name))
    return found
