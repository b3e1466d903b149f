"""When a task trains: one table."""

from __future__ import annotations

import msgspec
import pytest

from gateway.config import Config, Learn, Task, Teacher
from gateway.storage.values import Run, TaskVersion
from optimizer.rollout import Stage, Student
from trainer.planner import claimable, due, round_of, waiting_for

SCOPE = ("p", "triage", "f")
NOW = 5000.0
TASK = Task(
    name="triage",
    teacher=Teacher(provider="t", model="m", may_train_on_outputs=True),
    learn=Learn(min_calls=1000, min_new_calls=500),
)


def version(calls: int) -> TaskVersion:
    return TaskVersion("p", "triage", "f", version=1, first_seen=0.0, trainable_calls=calls)


def run(state: str, at: float = 100.0, calls: int = 1000, **params: float) -> Run:
    return Run(
        id=f"run{at}", kind="train", project="p", task="triage", fingerprint="f", state=state,  # type: ignore[arg-type]
        attempt=1, params={"trainable_calls": calls} | params, result={}, error="", progress=0.0, step="",
        created_at=at, started_at=None, finished_at=None, heartbeat_at=at, cancel_requested=False,
    )  # fmt: skip


def student(stage: Stage) -> Student:
    return Student(
        id="s", project="p", task="triage", fingerprint="f", version=1, recipe="classifier", round=1, threshold=0.9,
        stage=stage,
    )  # fmt: skip


LIVE, RETIRED = [student(Stage.LIVE)], [student(Stage.RETIRED)]


@pytest.mark.parametrize(
    ("calls", "students", "runs", "requests", "wanted"),
    [
        (999, [], [], [], None),
        (1000, [], [], [], {"trainable_calls": 1000}),
        (1000, [], [run("queued")], [], None),
        (1000, [], [run("running")], [], None),
        (9000, LIVE, [run("succeeded")], [], None),
        (1499, [], [run("failed")], [], None),
        (1500, [], [run("failed")], [], {"trainable_calls": 1500, "fresh_since": 0.0}),
        (1499, RETIRED, [run("succeeded")], [], None),
        (1500, RETIRED, [run("failed", fresh_since=7.0)], [], {"trainable_calls": 1500, "fresh_since": 7.0}),
        (1700, RETIRED, [run("failed", 1), run("failed", 2, calls=1400)], [], None),
        (1100, RETIRED, [run("succeeded")], [SCOPE], {"not_before_calls": 1600, "fresh_since": NOW}),
        (1100, LIVE, [run("succeeded")], [SCOPE], {"not_before_calls": 1600, "fresh_since": NOW}),
        (1100, RETIRED, [run("queued")], [SCOPE], None),
    ],
)
def test_what_is_due(calls, students, runs, requests, wanted) -> None:
    found = due(Config(tasks=[TASK]), [version(calls)], students, runs, requests, NOW)
    if wanted is None:
        assert found == []
    else:
        (command,) = found
        assert (command.project, command.task, command.fingerprint) == SCOPE
        assert {name: value for name, value in command.params.items() if name != "reason"} | wanted == {
            name: value for name, value in command.params.items() if name != "reason"
        }


@pytest.mark.parametrize(
    "task",
    [
        msgspec.structs.replace(TASK, learn=None),
        msgspec.structs.replace(TASK, teacher=Teacher(provider="t", model="m")),
        msgspec.structs.replace(TASK, name="other"),
    ],
)
def test_nothing_is_due_for_a_task_that_may_not_learn(task) -> None:
    assert due(Config(tasks=[task]), [version(9999)], [], [], [SCOPE], NOW) == []


def test_a_waiting_run_is_left_in_the_queue_and_a_dead_workers_run_is_taken() -> None:
    waiting = run("queued", not_before_calls=1500)
    assert waiting_for(waiting, [version(1200)]) == 300
    assert not claimable([waiting], [version(1200)], NOW, 10.0)
    assert claimable([waiting], [version(1500)], NOW, 10.0)
    assert claimable([run("running", at=NOW - 11)], [], NOW, 10.0)
    assert not claimable([run("running", at=NOW - 9)], [], NOW, 10.0)


def test_rounds_count_every_training_but_the_cancelled() -> None:
    runs = [run("failed", 1), run("cancelled", 2), run("succeeded", 3), run("running", 4), run("queued", 5)]
    assert [round_of(one, runs) for one in runs if one.state != "cancelled"] == [1, 2, 3, 4]
