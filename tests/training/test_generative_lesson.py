"""A whole lesson of a language model: from captured calls to shadow, through the trainer's own processes."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "trainer"))
from lesson_home import children, policies, start_worker, with_calls

from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.values import Run
from optimizer.certificate import read_envelope, recompute
from optimizer.rollout import Stage

QUEUES = {"printer": "hardware", "wifi": "network", "invoice": "billing", "password": "access"}


def calls(count: int) -> list[tuple[str, str]]:
    """Tickets that differ enough for curation to keep them."""
    rng = random.Random(0)
    found = []
    for number in range(count):
        thing = rng.choice(list(QUEUES))
        desk, who = ("".join(rng.choice("abcdefghijklmnop") for _ in range(6)) for _ in range(2))
        found.append((f"{who}, {thing} at desk {desk} since {number}", QUEUES[thing]))
    return found


pytestmark = pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs /proc to find the job's process"
)


@pytest.fixture(scope="module")
def rules(torch, base, tmp_path_factory) -> Path:
    plan = (
        f"{{base: {base}, adapt: full, epochs: 2, learning_rate: 0.003, batch_tokens: 512, max_length: 128}}"
    )
    folder = policies(
        tmp_path_factory.mktemp("rules") / "policies", learn=f", recipes: [sft], generative: {plan}"
    )
    (folder / "engines.yaml").write_text("engines: {transformers: {}}\n")
    return folder


def lesson(root: Path, rules: Path, *, kill_at: float | None = None) -> tuple[Home, Run]:
    """A home whose only run has ended; its training process was killed once at ``kill_at``."""
    home = with_calls(root, calls(620), at=1000.0)
    worker = start_worker(home, rules)
    reader = open_reader(home)
    try:
        deadline = time.monotonic() + 600
        while not (runs := reader.runs()) or runs[0].state in ("queued", "running"):
            assert time.monotonic() < deadline
            assert worker.poll() is None, "the worker ended by itself"
            if kill_at is not None and runs and runs[0].progress >= kill_at:
                (job,) = children(worker.pid)
                os.kill(job, signal.SIGKILL)
                kill_at = None
            time.sleep(0.02)
        return home, runs[0]
    finally:
        worker.terminate()
        worker.wait(60)
        reader.close()


@pytest.fixture(scope="module")
def taught(rules, tmp_path_factory) -> tuple[Home, Run]:
    return lesson(tmp_path_factory.mktemp("taught") / "home", rules)


def test_from_captured_calls_to_shadow(taught) -> None:
    home, run = taught
    assert (run.state, run.error) == ("succeeded", "")
    reader = open_reader(home)
    (student,) = reader.students()
    detail = reader.student_detail(student.id)["metrics"]
    reader.close()
    assert (student.recipe, student.stage) == ("sft", Stage.SHADOW)
    assert detail["holdout"]["coverage"] > 0.5
    assert detail["holdout"]["agreement"] > 0.9
    envelope = read_envelope((home.certificates / run.result["certificate"]).read_bytes())
    assert recompute(envelope.certificate) == []
    assert not list(home.artifacts.glob(".*")), "no checkpoint is left behind"


def test_a_kill_in_mid_training_changes_nothing(taught, rules, tmp_path) -> None:
    _, run = lesson(tmp_path / "home", rules, kill_at=0.5)
    assert run.state == "succeeded"
    for name in ("artifact", "dataset", "student"):
        assert run.result[name] == taught[1].result[name], name
