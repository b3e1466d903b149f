"""A whole lesson of a language model: from captured calls to shadow, through the trainer's own processes."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "trainer"))
from lesson_home import policies, start_worker, with_calls

from gateway.storage.sql_reader import open_reader
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


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_from_captured_calls_to_shadow(torch, base, tmp_path) -> None:
    home = with_calls(tmp_path / "home", calls(800), at=1000.0)
    plan = (
        f"{{base: {base}, adapt: full, epochs: 2, learning_rate: 0.003, batch_tokens: 512, max_length: 128}}"
    )
    folder = policies(tmp_path / "policies", learn=f", recipes: [sft], generative: {plan}")
    worker = start_worker(home, folder)
    reader = open_reader(home)
    try:
        deadline = time.monotonic() + 120
        while not (runs := reader.runs()) or runs[0].state in ("queued", "running"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (run,) = reader.runs()
        assert (run.state, run.error) == ("succeeded", "")
        (student,) = reader.students()
        assert (student.recipe, student.stage) == ("sft", Stage.SHADOW)
        detail = reader.student_detail(student.id)["metrics"]
        assert detail["holdout"]["coverage"] > 0.5
        assert detail["holdout"]["agreement"] > 0.9
        envelope = read_envelope((home.certificates / run.result["certificate"]).read_bytes())
        assert recompute(envelope.certificate) == []
        assert not list(home.artifacts.glob(".*")), "no checkpoint is left behind"
    finally:
        worker.terminate()
        worker.wait(15)
        reader.close()
