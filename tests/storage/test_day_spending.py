"""A day's budgets are one for all processes, and a payback's trainings are added up, on both databases."""

from __future__ import annotations

import pytest
from msgspec import structs
from storage_samples import Room, pair

from gateway.storage.commands import ClaimRun, EnqueueRun, FinishRun
from gateway.storage.records import VoteRecord
from gateway.storage.spending import DAY_S, Spent
from gateway.storage.values import TrainingTime
from gateway.students.questions import DayBudget, Spending

NOW = 20_000.5 * DAY_S


def vote(number: int, at: float, usd: float | None, task: str = "triage") -> VoteRecord:
    return VoteRecord(f"c{number}", "p", task, at, "hm", "a", 1.0, 2, usd)


def test_what_all_processes_spent_is_heard_by_each(room: Room) -> None:
    judged = [structs.replace(pair(f"j{n}"), project=f"p{n}", task="triage", created_at=NOW, extra_cost_usd=0.25, judge_usd=0.25)
              for n in (1, 2)]  # fmt: skip
    room.add(
        vote(1, NOW, 0.5), vote(2, NOW + 60, 0.75), vote(3, NOW - DAY_S, 9.0), vote(4, NOW, None, "other"), *judged,
        structs.replace(pair("j3"), created_at=NOW, extra_cost_usd=0.0),
        structs.replace(pair("s1"), kind="shadow", task="triage", created_at=NOW, extra_cost_usd=0.75, judge_usd=0.25),
    )  # fmt: skip
    found = room.reader.spent_on_day(NOW)
    assert sorted(found, key=lambda one: (one.purpose, one.project, one.task)) == [
        Spent("ensemble", "p", "other", 0.0, 1), Spent("ensemble", "p", "triage", 1.25, 0),
        Spent("judge", "p", "triage", 0.25, 0), Spent("judge", "p1", "triage", 0.25, 0),
        Spent("judge", "p2", "triage", 0.25, 0), Spent("shadow", "p", "triage", 0.5, 0),
    ]  # fmt: skip
    ensemble, judge = DayBudget(lambda: NOW), DayBudget(lambda: NOW)
    Spending(room.reader, {"ensemble": ensemble, "judge": judge}).hear(found)
    assert ensemble.affords(("p", "triage"), 1.26) and not ensemble.affords(("p", "triage"), 1.25)
    assert not ensemble.affords(("p", "other"), 1e9), "nobody can say what that cost"
    assert judge.affords(("", "triage"), 0.76) and not judge.affords(("", "triage"), 0.75)
    copies = DayBudget(lambda: NOW)
    Spending(room.reader, {"shadow": copies}).hear(found)
    assert copies.affords(("", "triage"), 0.51) and not copies.affords(("", "triage"), 0.5)
    ensemble.charge(("p", "triage"), 0.5, 2.0)
    Spending(room.reader, {"ensemble": ensemble}).hear(found)
    assert not ensemble.affords(("p", "triage"), 1.75), "what this process spent since then stays counted"


def test_trainings_are_added_up_by_the_database(room: Room) -> None:
    results = [
        {"recipe": "sft", "seconds": 60, "cpu_seconds": 100.5}, {"recipe": "sft", "seconds": 30.5, "cpu_seconds": 1},
        {"cpu_seconds": 7.0}, {},
    ]  # fmt: skip
    for number, result in enumerate(results):
        room.writer.execute(EnqueueRun("train", "p", "t", "f", params={}, at=10.0 + number))
        run = room.writer.execute(ClaimRun("w", 20.0 + number, 5.0))
        room.writer.execute(FinishRun(run.id, "w", 30.0, "succeeded", result, ""))
    found = sorted(room.reader.training_times(since=10.0), key=lambda one: one.recipe)
    assert found == [TrainingTime("p", "t", "", 0.0, 7.0), TrainingTime("p", "t", "sft", 90.5, 101.5)]
    assert room.reader.training_times(since=11.5)[0].cpu_seconds == pytest.approx(7.0)
    assert room.reader.training_times(since=99.0) == []
