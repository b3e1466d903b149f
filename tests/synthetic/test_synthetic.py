"""Synthetic calls for thin answers: written and answered by the task's teacher through a running gateway."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from msgspec import structs
from redis_server import RedisServer
from scripted import COMPLETION, Line, Provider, provider

from gateway.policy.files import PolicyError, load
from gateway.storage.commands import AddForeign
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.protocols import Reader
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import SYNTHETIC, CallRecord
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.values import TrainingCall
from gateway.storage.writing.writer import SqlWriter
from trainer.datasets.card import readable
from trainer.datasets.versions import assemble

LEARNS = """    teacher: {provider: big, model: m, may_train_on_outputs: true}
    learn:
      min_calls: 1000
      ceiling_rate: 0.0001
      synthetic: {per_answer: PER, max_calls: MOST, budget_usd_day: BUDGET}
"""
SYSTEM = "Route the ticket."
COST = (600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6
"""Of one scripted answer, in US dollars."""
WORDS = ("amber", "basil", "cedar", "dune", "ember", "fjord", "grove", "heath", "islet", "jade", "karst", "lagoon")


@dataclass
class Teacher:
    """Answers tickets by their words; writes what it is told to when it is asked for inputs."""

    writes: Callable[[dict[str, Any]], list[str]]
    asked: list[dict[str, Any]] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)

    def route(self, said: str) -> str:
        return "billing" if "invoice" in said else "fax" if "fax" in said else "login"

    async def __call__(self, line: Line) -> None:
        messages = line.seen.body["messages"]
        said = messages[-1]["content"]
        if messages[0]["content"] == SYSTEM:
            self.answered.append(said)
            content = self.route(said)
        else:
            self.asked.append(json.loads(said))
            content = "Here they are: " + json.dumps({"inputs": self.writes(json.loads(said))})
        choice = {**COMPLETION["choices"][0], "message": {"role": "assistant", "content": content}}
        await line.answer(200, {**COMPLETION, "choices": [choice]})


def new_faxes(document: dict[str, Any]) -> list[str]:
    """One that repeats an example, and as many new ones as are wanted, with somebody's address in each."""
    new = [f"our fax by the {word} {word[::-1]} wing is dead, tell {word}@example.com" for word in WORDS]
    return [document["examples"][0].upper() + " 7", *new[: document["number"]]]


def ticket(number: int) -> str:
    one, two = WORDS[number % 12], WORDS[(number // 12) % 12]
    kind = "fax jams" if number % 30 == 0 else f"invoice {one}{two} is wrong" if number % 2 else "cannot log in"
    return f"{one}{number // 12} {two} {kind}: write to {one}@example.com"


async def say(served: Gateway, *texts: str) -> None:
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        for text in texts:
            turns: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
            await client.chat.completions.create(model="triage", messages=turns, user="ann", n=1)


def ingest(home: Home) -> None:
    writer = SqlWriter(write_engine(home.database_url))
    Ingester(home, writer, threading.Event()).drain()
    writer.close()


def made(served: Gateway) -> list[CallRecord]:
    return [one for one in served.records() if isinstance(one, CallRecord) and one.key_id == SYNTHETIC]


async def settled(served: Gateway, at_least: int) -> list[CallRecord]:
    """What was made, once there is so much of it and nothing more comes."""
    for _ in range(200):
        found = made(served)
        await asyncio.sleep(0.1)
        if len(found) >= at_least and len(made(served)) == len(found):
            break
    return made(served)


def policies(tmp: Path, url: str, per: int = 8, most: int = 100, budget: float = 5.0) -> Path:
    text = LEARNS.replace("PER", str(per)).replace("MOST", str(most)).replace("BUDGET", str(budget))
    return write_policies(tmp / "policies", {"big": url}, text)


async def begun(tmp: Path, big: Provider, teacher: Teacher, **rules: Any) -> Path:
    """A home in whose database are sixty calls of clients, two of them about faxes."""
    big.behave = teacher
    folder = policies(tmp, big.url, **rules)
    async with gateway(tmp, folder) as served:
        await say(served, *map(ticket, range(60)))
    ingest(served.home)
    assert not made(served)  # sixty calls, but none of them was in the database when it looked
    teacher.answered.clear()
    return folder


async def again(tmp: Path, folder: Path, number: int, at_least: int) -> list[CallRecord]:
    """A gateway that starts anew and gets one call; what it made then."""
    async with gateway(tmp, folder) as served:
        await say(served, ticket(number))
        found = await settled(served, at_least)
    ingest(served.home)
    return found


def lessons(home: Home) -> tuple[list[TrainingCall], Reader]:
    reader = open_reader(home)
    (version,) = reader.task_versions()
    return reader.training_calls("default", "triage", version.fingerprint, limit=999), reader


async def test_a_thin_answer_gets_calls_of_its_kind_and_a_restart_makes_no_more(tmp_path: Path) -> None:
    teacher = Teacher(new_faxes)
    async with provider() as big:
        folder = await begun(tmp_path, big, teacher)
        found = await again(tmp_path, folder, 61, 7)
        assert (len(found), len(await again(tmp_path, folder, 63, 0))) == (7, 0)
    (document,) = teacher.asked
    assert (document["answer"], document["number"], len(document["examples"])) == ("fax", 6, 2)
    assert all("[EMAIL_1]" in text and "@" not in text for text in document["examples"])
    assert sum("wing is dead" in text for text in teacher.answered) == 6  # the repeated example was not asked
    asked = [one.body for one in big.seen if "wing" in str(one.body)]
    assert all("user" not in body and body["messages"][0]["content"] == SYSTEM for body in asked)
    calls, reader = lessons(Home(tmp_path / "home"))
    synthetic = [one for one in calls if one.source]
    assert {one.answer for one in synthetic} == {"fax"}
    assert all(one.source.startswith("synthetic:") and "[EMAIL_1]" in one.text for one in synthetic)
    (version,) = reader.task_versions()
    assert (len(synthetic), version.trainable_calls) == (6, 62)
    buckets = [one for one in reader.ledger(since=0, bucket_s=60) if one.task == "triage"]
    assert sum(one.extra_cost_usd for one in buckets) == pytest.approx(7 * COST)
    assert (sum(one.calls for one in buckets), sum(one.unpriced for one in buckets)) == (62, 0)
    (line,) = reader.costs("task", since=0, until=9e12, limit=9)
    assert line.calls == 62
    watched = reader.watched_calls("default", "triage", version.fingerprint, after=0, limit=99)
    assert len(watched) == 62
    for crossfit in (False, True):
        dataset = assemble(calls, project="default", task="triage", fingerprint=version.fingerprint, run="r",
                           masked=True, crossfit=crossfit)  # fmt: skip
        ours = [row for row in dataset.rows if row.foreign == "synthetic"]
        assert len(ours) == 6
        assert not any(row.part != "train" or row.calibrates for row in ours)
        assert not any("wing is dead" in row.text for row in dataset.rows if row.foreign != "synthetic")
        (step,) = (one for one in dataset.card["steps"] if one["name"] == "from_elsewhere")
        assert step["noted"] == {"imported": 0, "synthetic": 6}
        assert "6 synthetic" in readable(dataset.card, dataset.digest)
    reader.close()


async def test_the_day_s_budget_holds_over_a_restart(tmp_path: Path) -> None:
    teacher = Teacher(new_faxes)
    async with provider() as big:
        folder = await begun(tmp_path, big, teacher, budget=3.5 * COST)
        assert len(await again(tmp_path, folder, 61, 4)) == 4  # the last one was begun within the budget
        assert await again(tmp_path, folder, 63, 0) == []
        folder = policies(tmp_path, big.url, budget=20 * COST)
        teacher.writes = lambda document: new_faxes({**document, "number": 6})  # three of them are there already
        assert len(await again(tmp_path, folder, 65, 4)) == 4  # one question for inputs, three that are new
    calls, reader = lessons(Home(tmp_path / "home"))
    reader.close()
    assert len({one.text for one in calls if one.source}) == 6


async def test_of_two_workers_one_looks(tmp_path: Path, redis_server: RedisServer) -> None:
    teacher = Teacher(new_faxes)
    both = {
        "UNDERSTUDY_REDIS_URL": redis_server.url,
        "UNDERSTUDY_REDIS_TIMEOUT_MS": "2000",
        "UNDERSTUDY_WORKERS": "2",
        "UNDERSTUDY_WORKERS_OF": "us",
    }
    async with provider() as big:
        folder = await begun(tmp_path, big, teacher)
        async with (
            gateway(tmp_path, folder, **both, UNDERSTUDY_WORKER="1") as one,
            gateway(tmp_path, folder, **both, UNDERSTUDY_WORKER="2") as other,
        ):
            await say(one, ticket(61))
            await settled(one, 7)
            await say(other, ticket(63))
            assert len(await settled(other, 7)) == 7
    assert len(teacher.asked) == 1


async def test_a_teacher_that_fails_is_asked_again_later_for_what_is_missing(tmp_path: Path) -> None:
    teacher = Teacher(new_faxes)

    async def fails(line: Line) -> None:
        if len(teacher.answered) == 4:  # a client's, and three of six
            await line.answer(400, {"error": {"message": "no", "type": "invalid_request_error"}})
        else:
            await teacher(line)

    async with provider() as big:
        folder = await begun(tmp_path, big, teacher)
        big.behave = fails
        assert len(await again(tmp_path, folder, 61, 4)) == 4
        big.behave = teacher
        teacher.writes = lambda document: new_faxes({**document, "number": 6})
        assert len(await again(tmp_path, folder, 63, 4)) == 4
    calls, reader = lessons(Home(tmp_path / "home"))
    reader.close()
    assert len({one.text for one in calls if one.source}) == 6


async def test_no_more_than_max_calls_are_kept(tmp_path: Path) -> None:
    teacher = Teacher(new_faxes)
    async with provider() as big:
        folder = await begun(tmp_path, big, teacher, most=2)
        assert len(await again(tmp_path, folder, 61, 3)) == 3
        assert await again(tmp_path, folder, 63, 0) == []


async def test_what_the_teacher_answers_otherwise_teaches_that_and_the_part_is_given_up(tmp_path: Path) -> None:
    teacher = Teacher(lambda document: [f"the invoice of {word} {word[::-1]}" for word in WORDS])
    async with provider() as big:
        folder = await begun(tmp_path, big, teacher, per=3)
        tried = await again(tmp_path, folder, 61, 2)
        assert len(tried) == 2
        before(tmp_path, tried[0], 3 * 3 + 6 - 3)
        assert len(await again(tmp_path, folder, 63, 2)) == 2  # the first of what it writes is there already
        assert await again(tmp_path, folder, 65, 0) == []
    calls, reader = lessons(Home(tmp_path / "home"))
    reader.close()
    assert {one.answer for one in calls if one.source} == {"billing"}


def before(tmp: Path, one: CallRecord, times: int) -> None:
    """As if the same had been asked so often before, yesterday."""
    earlier = structs.replace(one, created_at=one.created_at - 86_400)
    calls = tuple(structs.replace(earlier, id=f"chatcmpl-{uuid.uuid4().hex}") for _ in range(times))
    writer = SqlWriter(write_engine(Home(tmp / "home").database_url))
    writer.execute(AddForeign(calls))
    writer.close()


class Echo(Teacher):
    """Answers in its own words each time."""

    def route(self, said: str) -> str:
        return "about " + said


async def test_an_open_set_of_answers_gets_none_but_for_a_declared_slice(tmp_path: Path) -> None:
    teacher = Echo(lambda document: [f"{word} {word[::-1]} " * 12 for word in WORDS])
    async with provider() as big:
        folder = await begun(tmp_path, big, teacher)
        assert await again(tmp_path, folder, 61, 0) == []
        async with gateway(tmp_path, folder) as served:
            await say(served, *(f"{ticket(number)} and {'on ' * 30}" for number in range(3)))
        ingest(served.home)
        path = folder / "routing.yaml"
        path.write_text(path.read_text() + "      slices: [{name: long, min_chars: 120}]\n")
        assert len(await again(tmp_path, folder, 63, 6)) == 6
    (document,) = teacher.asked
    assert (document["answer"], document["number"], len(document["examples"])) == ("", 5, 3)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("true}", "false}", "nothing may be trained on what the teacher would write"),
        ("model: m, may", "model: nobody, may", "no budget could hold"),
        ("budget_usd_day: 5.0", "budget_usd_day: 0", "budget_usd_day"),
        (", budget_usd_day: 5.0", "", "budget_usd_day"),
        ("per_answer: 8", "per_answer: 0", "per_answer"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, old: str, new: str, why: str) -> None:
    folder = policies(tmp_path, "http://127.0.0.1:9/v1")
    path = folder / "routing.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(PolicyError) as refused:
        load(folder, os.environ)
    assert why in str(refused.value)
