"""The worker's process: it teaches, and no kill changes what comes out."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lesson_home import FINGERPRINT, children, policies, start_worker, store_records, with_calls

from gateway.storage.commands import CancelRun
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import DemotionRecord
from gateway.storage.values import Run
from gateway.storage.writing.writers import open_writer
from optimizer.certificate import digest, read_envelope, recompute
from optimizer.rollout import Stage

STUDENT = f"triage-{FINGERPRINT[:4]}-v1"
pytestmark = pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs /proc to find the job's process"
)


def until(check: Callable[[], object], seconds: float = 600.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def last_run(home: Home) -> Run | None:
    reader = open_reader(home)
    try:
        return next(iter(reader.runs()), None)
    finally:
        reader.close()


def ended(home: Home) -> bool:
    run = last_run(home)
    return run is not None and run.state not in ("queued", "running")


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(300)


@pytest.fixture(scope="module")
def taught(tmp_path_factory, make_tickets) -> tuple[Home, Path]:
    """A home whose worker was left alone."""
    root = tmp_path_factory.mktemp("taught")
    home = with_calls(root / "home", make_tickets(900), at=1000.0)
    folder = policies(root / "policies")
    worker = start_worker(home, folder)
    until(lambda: ended(home))
    assert end(worker) == 0
    return home, folder


def test_a_lesson_ends_in_shadow_with_its_certificate(taught) -> None:
    home, _ = taught
    reader = open_reader(home)
    (run,) = reader.runs()
    assert (run.state, run.error) == ("succeeded", "")
    (student,) = reader.students()
    assert (student.id, student.stage, student.round) == (STUDENT, Stage.SHADOW, 1)
    assert run.result["trainable_calls"] == 900
    envelope = read_envelope((home.certificates / run.result["certificate"]).read_bytes())
    assert recompute(envelope.certificate) == []
    assert digest(envelope.certificate) == student.certificate
    assert envelope.certificate.dataset == run.result["dataset"]
    detail = reader.student_detail(STUDENT)
    assert detail["metrics"]["holdout"]["agreement"] > 0.9
    assert detail["metrics"]["holdout"]["coverage"] > 0.5
    messages = " ".join(event.message for event in reader.run_events(run.id))
    assert "training" in messages
    assert "held-out" in messages
    reader.close()


@pytest.mark.parametrize("victim", ["worker", "job", "both"])
def test_a_kill_in_mid_training_changes_nothing(taught, tmp_path, make_tickets, victim) -> None:
    home = with_calls(tmp_path / "home", make_tickets(900), at=1000.0)
    worker = start_worker(home, taught[1])
    until(lambda: (run := last_run(home)) is not None and run.progress >= 0.15)
    (job,) = children(worker.pid)
    if victim in ("job", "both"):
        os.kill(job, signal.SIGKILL)
    if victim in ("worker", "both"):
        end(worker, signal.SIGKILL)
        worker = start_worker(home, taught[1])
    until(lambda: ended(home))
    assert end(worker) == 0
    assert not Path(f"/proc/{job}").exists()
    undisturbed, run = last_run(taught[0]), last_run(home)
    assert undisturbed is not None
    assert run is not None
    assert run.state == "succeeded"
    for name in ("artifact", "dataset", "student"):
        assert run.result[name] == undisturbed.result[name], name
    leftovers = [path.name for path in home.artifacts.iterdir() if not path.name.startswith(".")]
    assert leftovers == [STUDENT]


def test_a_demotion_shows_a_queued_retrain_at_once(taught) -> None:
    home, folder = taught
    reader = open_reader(home)
    (student,) = reader.students()
    store_records(
        home,
        [
            DemotionRecord(
                student=student.id, epoch=student.epoch, at=time.time(), to="retired", actor="watch",
                reason="agreement fell", numbers={}, retrain=True,
            )
        ],
    )  # fmt: skip
    worker = start_worker(home, folder)
    until(lambda: len(reader.runs()) == 2)
    time.sleep(1.2)  # the worker has had time to take it, wrongly
    end(worker)
    queued = max(reader.runs(), key=lambda run: run.created_at)
    reader.close()
    assert queued.state == "queued"
    assert queued.params["not_before_calls"] == 1100


def test_a_cancelled_run_ends_and_leaves_no_student(taught, tmp_path, make_tickets) -> None:
    home = with_calls(tmp_path / "home", make_tickets(900), at=1000.0)
    worker = start_worker(home, taught[1])
    until(lambda: children(worker.pid))
    (job,) = children(worker.pid)
    os.kill(job, signal.SIGSTOP)  # it shall not be quicker than the cancellation
    run = last_run(home)
    assert run is not None
    writer = open_writer(home)
    writer.execute(CancelRun(run.id, actor="me", at=time.time()))
    until(lambda: ended(home))
    assert not Path(f"/proc/{job}").exists()
    end(worker)
    run = last_run(home)
    assert run is not None
    assert run.state == "cancelled"
    reader = open_reader(home)
    assert reader.students() == []
    reader.close()
    writer.close()


def test_a_task_without_a_closed_set_of_answers_fails_cleanly(tmp_path) -> None:
    home = with_calls(
        tmp_path / "home",
        [(f"tell me {chr(97 + n % 26) * (n // 26 + 1)}", f"story {n}") for n in range(700)],
        at=1000.0,
    )
    worker = start_worker(home, policies(tmp_path / "policies"))
    until(lambda: ended(home))
    end(worker)
    run = last_run(home)
    assert run is not None
    assert run.state == "failed"
    assert "not a closed answer set" in run.error
