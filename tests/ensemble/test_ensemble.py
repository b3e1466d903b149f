"""Several teachers for one task: asked in the background, within a budget; their vote is what a lesson is made of."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from msgspec import structs
from scripted import COMPLETION, Line, Provider, provider

from gateway.policy.files import PolicyError, load
from gateway.storage.engine import write_engine
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import VoteRecord
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.values import TrainingCall
from gateway.storage.writing.writer import SqlWriter
from trainer.datasets.card import readable
from trainer.datasets.versions import assemble

LEARNS = """    teacher: {provider: big, model: m, may_train_on_outputs: true}
    learn:
      min_calls: 1000
      ceiling_rate: 0.0001
      ensemble:
        teachers: [{provider: other, model: m}, {provider: third, model: m}]
        rate: 0.9999
        budget_usd_day: BUDGET
"""
QUESTION = "write to ann@example.com about the badge"


def says(content: str) -> Any:
    async def behave(line: Line) -> None:
        choice = {**COMPLETION["choices"][0], "message": {"role": "assistant", "content": content}}
        await line.answer(200, {**COMPLETION, "choices": [choice]})

    return behave


def votes(served: Gateway) -> list[VoteRecord]:
    return [one for one in served.records() if isinstance(one, VoteRecord)]


async def asked(
    tmp: Path, budget: str, calls: int, *others: Provider, big: Provider, voted: int = 1000
) -> tuple[Gateway, list[VoteRecord]]:
    """The votes after so many calls, each waited for; others answer as they were told. ``voted``: from this call on
    none is to come, which half a second shows."""
    urls = {"big": big.url} | dict(zip(("other", "third", "fourth"), (one.url for one in others), strict=False))
    folder = write_policies(tmp / "policies", urls, LEARNS.replace("BUDGET", budget))
    async with gateway(tmp, folder) as served:
        async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
            for number in range(calls):
                answer = await client.chat.completions.create(
                    model="triage", messages=[{"role": "user", "content": f"{QUESTION} {number}"}]
                )
                assert answer.choices[0].message.content == "to ann@example.com"
                for _ in range(1200 if number < voted else 10):
                    if len(votes(served)) > number:
                        break
                    await asyncio.sleep(0.05)
        found = votes(served)
    return served, found


async def test_the_answer_most_teachers_give_is_the_label(tmp_path: Path) -> None:
    async with provider() as big, provider() as other, provider() as third:
        big.behave = says("to ann@example.com")
        other.behave = third.behave = says("deny: ann@example.com")
        served, found = await asked(tmp_path, "5", 2, other, third, big=big)
    assert [(one.label, round(one.share, 3), one.votes) for one in found] == [("deny: ann@example.com", 0.667, 3)] * 2
    assert found[0].extra_cost_usd == pytest.approx(2 * (600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6)
    writer = SqlWriter(write_engine(served.home.database_url))
    Ingester(served.home, writer, threading.Event()).drain()
    writer.close()
    reader = open_reader(served.home)
    (version,) = reader.task_versions()
    calls = reader.training_calls("default", "triage", version.fingerprint, limit=9)
    assert [(one.answer, one.label, one.votes) for one in calls] == [("to [EMAIL_1]", "deny: [EMAIL_1]", 3)] * 2
    extra = sum(bucket.extra_cost_usd for bucket in reader.ledger(since=0, bucket_s=60) if bucket.task == "triage")
    assert extra == pytest.approx(sum(one.extra_cost_usd or 0.0 for one in found))
    reader.close()


JUDGE = "5\n        judge: {provider: fourth, model: m}"


def prefers(wanted: str) -> Any:
    """A judge that wants this answer, wherever it stands."""

    async def behave(line: Line) -> None:
        shown = json.loads(line.seen.body["messages"][1]["content"])
        better = next((number for number in (1, 2) if wanted in shown[f"answer_{number}"]), 0)
        await says(json.dumps({"better": better}))(line)

    return behave


async def disagreeing(tmp: Path, behave: Any, budget: str = JUDGE) -> tuple[Gateway, list[VoteRecord], Provider]:
    async with provider() as big, provider() as other, provider() as third, provider() as fourth:
        big.behave, other.behave = says("to ann@example.com"), says("deny: ann@example.com")
        third.behave, fourth.behave = says("wait"), behave
        served, found = await asked(tmp, budget, 1, other, third, fourth, big=big)
    return served, found, fourth


async def test_a_judge_chooses_where_no_answer_has_most_of_the_votes(tmp_path: Path) -> None:
    served, (found,), judge = await disagreeing(tmp_path, prefers("deny"))
    assert (found.label, round(found.share, 3), found.votes, found.judged) == ("deny: ann@example.com", 0.333, 3, True)
    assert len(judge.seen) == 4  # two challengers, each in both orders
    assert not any("ann@example.com" in json.dumps(one.body) for one in judge.seen)  # the task masks
    assert found.extra_cost_usd == pytest.approx(6 * (600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6)
    writer = SqlWriter(write_engine(served.home.database_url))
    Ingester(served.home, writer, threading.Event()).drain()
    writer.close()
    reader = open_reader(served.home)
    (version,) = reader.task_versions()
    (call,) = reader.training_calls("default", "triage", version.fingerprint, limit=9)
    assert (call.label, call.judged) == ("deny: [EMAIL_1]", True)
    reader.close()


async def test_a_judge_that_likes_the_first_place_changes_nothing(tmp_path: Path) -> None:
    _, (found,), _ = await disagreeing(tmp_path, says('{"better": 1}'))
    assert (found.label, found.judged) == ("to ann@example.com", True)


async def test_a_judge_that_is_away_leaves_the_vote(tmp_path: Path) -> None:
    async def broken(line: Line) -> None:
        await line.answer(400, {"error": {"message": "no"}})

    _, (found,), judge = await disagreeing(tmp_path, broken)
    assert (found.label, found.judged, len(judge.seen)) == ("to ann@example.com", False, 1)


async def test_the_judge_is_not_asked_when_the_day_is_spent(tmp_path: Path) -> None:
    _, (found,), judge = await disagreeing(tmp_path, prefers("deny"), JUDGE.replace("5", "0.004", 1))
    assert (found.label, found.judged, len(judge.seen)) == ("to ann@example.com", False, 0)


async def test_a_majority_needs_no_judge(tmp_path: Path) -> None:
    async with provider() as big, provider() as other, provider() as third, provider() as fourth:
        big.behave, fourth.behave = says("to ann@example.com"), prefers("to")
        other.behave = third.behave = says("deny: ann@example.com")
        _, (found,) = await asked(tmp_path, JUDGE, 1, other, third, fourth, big=big)
        assert (found.label, found.judged, fourth.seen) == ("deny: ann@example.com", False, [])


def test_what_a_judge_chose_stands_on_the_card() -> None:
    calls = [lesson(number, label="voted", label_share=1 / 3, votes=3, judged=number < 30) for number in range(120)]
    version = assemble(calls, project="p", task="t", fingerprint="f", run="r", masked=True)
    (step,) = (one for one in version.card["steps"] if one["name"] == "ensemble")
    assert 0 < step["noted"]["chosen by a judge"] <= 30


async def test_a_spent_budget_ends_the_asking(tmp_path: Path) -> None:
    async with provider() as big, provider() as other, provider() as third:
        big.behave = says("to ann@example.com")
        _, found = await asked(tmp_path, "0.004", 3, other, third, big=big, voted=1)
        assert len(found) == 1
        assert (len(other.seen), len(third.seen)) == (1, 1)


def lesson(number: int, **more: Any) -> Any:
    word = "abcdefghij"[number % 10] * (3 + number // 10)
    return TrainingCall(
        call_id=f"c{number}", created_at=float(number), group=f"g{number}", key_id="k", end_user="", session="",
        text=f"matter {word}", answer="served", finish_reason="stop", completion_tokens=1, metadata={}, **more,
    )  # fmt: skip


def test_votes_teach_with_their_weight_and_touch_nothing_that_examines() -> None:
    calls = [lesson(number, label="voted", label_share=2 / 3, votes=3) for number in range(120)]
    version = assemble(calls, project="p", task="t", fingerprint="f", run="r", masked=True)
    assert {(one.answer, round(one.weight, 3)) for one in version.part("train")} == {("voted", 0.667)}
    for part in ("calibration", "holdout"):
        assert {(one.answer, one.weight) for one in version.part(part)} == {("served", 1.0)}
    (step,) = (one for one in version.card["steps"] if one["name"] == "ensemble")
    assert step["found"] == step["noted"]["voted on"] == step["noted"]["not unanimous"] == step["rows_in"]
    assert "| ensemble |" in readable(version.card, version.digest)
    crossfit = assemble(calls, project="p", task="t", fingerprint="f", run="r", masked=True, crossfit=True)
    assert {one.answer for one in crossfit.rows} == {"served"}
    alone = assemble([structs.replace(one, votes=0) for one in calls], project="p", task="t", fingerprint="f",
                     run="r", masked=True)  # fmt: skip
    assert {one.answer for one in alone.rows} == {"served"}


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("provider: other", "provider: nobody", "no provider is named 'nobody'"),
        ("provider: other, model: m", "provider: big, model: m", "votes anyway"),
        ("min_calls: 1000", "min_calls: 1000\n      calibration: crossfit", "must stay the teacher's answers"),
        ("budget_usd_day: 5", "rate: 0.5", "budget_usd_day"),
        ("budget_usd_day: 5", "budget_usd_day: 5\n        judge: {provider: nobody, model: m}", "is named 'nobody'"),
        ("budget_usd_day: 5", "budget_usd_day: 5\n        judge: {provider: big, model: m}", "judge its own answers"),
    ],
)
def test_an_ensemble_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, why: str) -> None:
    urls = dict.fromkeys(("big", "other", "third"), "http://127.0.0.1:9/v1")
    text = LEARNS.replace("BUDGET", "5").replace("        rate: 0.9999\n", "")
    assert old in text
    folder = write_policies(tmp_path / "policies", urls, text.replace(old, new))
    with pytest.raises(PolicyError) as refused:
        load(folder, os.environ)
    assert why in str(refused.value)
