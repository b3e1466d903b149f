"""Several teachers for one task: asked in the background, within a budget; their vote is what a lesson is made of."""

from __future__ import annotations

import asyncio
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
    tmp: Path, budget: str, calls: int, *others: Provider, big: Provider
) -> tuple[Gateway, list[VoteRecord]]:
    """The votes after so many calls, each waited for; others answer as they were told."""
    urls = {"big": big.url, "other": others[0].url, "third": others[1].url}
    folder = write_policies(tmp / "policies", urls, LEARNS.replace("BUDGET", budget))
    async with gateway(tmp, folder) as served:
        async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
            for number in range(calls):
                answer = await client.chat.completions.create(
                    model="triage", messages=[{"role": "user", "content": f"{QUESTION} {number}"}]
                )
                assert answer.choices[0].message.content == "to ann@example.com"
                for _ in range(60):
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


async def test_a_spent_budget_ends_the_asking(tmp_path: Path) -> None:
    async with provider() as big, provider() as other, provider() as third:
        big.behave = says("to ann@example.com")
        _, found = await asked(tmp_path, "0.004", 3, other, third, big=big)
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
