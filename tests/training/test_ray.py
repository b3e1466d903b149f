"""The same lesson on a real Ray cluster: the curation's rows and counts, and the student that one process makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from queue import Queue

import msgspec
import pytest
from ray_cluster import cluster, workers_of
from test_training import QUEUES, THINGS, plan, tickets, train

from trainer.artifacts.predictor import answer
from trainer.artifacts.registry import store
from trainer.cluster.joined import ClusterAway, join
from trainer.cluster.train import Told
from trainer.recipes import Means
from trainer.training.order import ORDER, Heard, Order, give, taken

pytest.importorskip("ray", reason="the extra 'ray' is not installed: pip install 'understudy[ray]'")
_JOB = """
import sys
from pathlib import Path
from trainer.cluster.joined import ClusterAway
from trainer.cluster.train import by_cluster
from trainer.recipes import CannotLearn
try:
    by_cluster(sys.argv[1], Path(sys.argv[2]), 2, lambda done, step: print(step, flush=True))
except (CannotLearn, ClusterAway) as problem:
    print("refused:", problem, flush=True)
"""


@pytest.fixture(scope="module")
def ray():
    with cluster() as found:
        yield found


def job(address: str, workspace: Path) -> subprocess.Popen[str]:
    """A driver of its own, as the trainer's job is one."""
    command = [sys.executable, "-W", "ignore", "-c", _JOB, address, str(workspace)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_the_cluster_curates_to_the_same_dataset(ray, tmp_path) -> None:
    def curated(*more: str) -> dict[str, object]:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.curation", "--calls", "17000", *more]
        subprocess.run([*command, "--json", str(tmp_path / "found")], check=True, stdout=subprocess.DEVNULL)
        found = json.loads((tmp_path / "found").read_bytes())
        return {name: found[name] for name in ("rows", "steps", "digest")}

    assert curated("--cluster", ray[0]) == curated()


def test_the_cluster_trains_what_one_process_trains_although_it_loses_one(torch, base, ray, tmp_path) -> None:
    how = plan(base, processes=2, epochs=15, patience=15)
    alone = train("sft", tickets(), msgspec.structs.replace(how, processes=1), tmp_path / "one")
    give("sft", tickets(), how, Means(how, tmp_path / "two"), 1)
    steps: list[int] = []
    with job(ray[0], tmp_path / "two") as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            assert not line.startswith("refused"), line
            if not line.startswith("step "):
                continue
            steps.append(int(line.split()[1].split("/")[0].replace(",", "")))
            if len(steps) == 3:
                victim = next(number for number, name in workers_of(ray[1]).items() if "TrainWorker" in name)
                os.kill(victim, signal.SIGKILL)
        assert driver.wait() == 0
    assert steps != sorted(set(steps))  # some were taken twice
    together = taken(tmp_path / "two")
    for number in ("first_loss", "last_loss", "selection_loss"):
        assert together.numbers[number] == pytest.approx(alone.numbers[number], rel=1e-2, abs=1e-3)
    assert together.numbers["tokens"] == alone.numbers["tokens"]
    artifact = store(tmp_path / "triage-abcd-v1", "sft", together, "d" * 64, 1)
    asked = [f"my {thing} is broken 999" for thing in THINGS]
    assert [one for ((one, _),) in answer(artifact.parameters, [], asked)] == list(QUEUES)


def test_a_killed_job_leaves_nothing_behind(torch, base, ray, tmp_path) -> None:
    how = plan(base, processes=2, epochs=500, patience=500)
    give("sft", tickets(), how, Means(how, tmp_path), 1)
    with job(ray[0], tmp_path) as driver:
        assert driver.stdout is not None
        while not driver.stdout.readline().startswith("step "):
            assert driver.poll() is None
        assert any("TrainWorker" in name for name in workers_of(ray[1]).values())
        driver.kill()
    until = time.monotonic() + 300
    while any("Train" in name for name in workers_of(ray[1]).values()):
        assert time.monotonic() < until
        time.sleep(0.2)


class Mailbox(Queue[Heard]):
    """A queue as Ray's looks from here."""

    def shutdown(self, force: bool) -> None:
        assert force


def test_everything_the_first_process_said_is_handed_on() -> None:
    heard, told = Mailbox(), []
    listening = Told(heard, lambda done, step: told.append((done, step)))
    listening.start()
    for said in (Heard(0.1, "loading"), Heard(0.2, "step 1/9"), Heard(refused="too few"), Heard(0.3, "over")):
        heard.put(said)
    listening.finish()
    assert told == [(0.1, "loading"), (0.2, "step 1/9"), (0.3, "over")]
    assert listening.refused == "too few"


def test_a_cluster_that_is_not_there_is_named() -> None:
    with pytest.raises(ClusterAway, match=r"127\.0\.0\.1:1 does not answer \(Connection refused\)"):
        join("127.0.0.1:1")


def test_an_order_is_what_its_workspace_says(tmp_path) -> None:
    how = plan(tmp_path)
    give("sft", tickets(3), how, Means(how, tmp_path / "work"), 7)
    order = msgspec.json.decode((tmp_path / "work" / ORDER).read_bytes(), type=Order)
    assert (order.recipe, order.plan, order.seed, order.examples) == ("sft", how, 7, tickets(3))
