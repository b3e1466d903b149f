"""A running gateway with a student under proof, and the trainer's promoter beside it on the same database."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import openai
from gateway_server import KEY, Gateway, gateway, write_policies
from migrated import migrated
from scripted import COMPLETION, Line, Provider

from gateway.policy import files as policy_files
from gateway.protocol.chat import ChatRequest, Message
from gateway.protocol.fingerprint import fingerprint
from gateway.storage.commands import AddStudent, MoveStudent
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import CallRecord, PairRecord
from gateway.storage.writing.ingest import ingest
from gateway.storage.writing.writer import SqlWriter
from gateway.storage.writing.writers import open_writer
from optimizer.certificate import Certificate, read_envelope
from optimizer.rollout import Stage, Student
from trainer.certify import Issuer, Lineage
from trainer.promoter import Promoter

TASK = """  - name: sorting
    policy: cheap
    teacher: {provider: first, model: m, may_train_on_outputs: true}
    capture: {rate: 1.0}
    learn: {ceiling_rate: 0, approval: automaticLEARN}
policies:
  - {name: cheap, strategy: cascade}
"""
SHAPE = fingerprint(ChatRequest(model="sorting", messages=[Message(role="user", content="x")]))
Said = Callable[[str], str]
"""What a student, or a teacher, says to a text."""


def saying(said: Said, *, sure: float = 0.97) -> Callable[[Line], Any]:
    """A behaviour that answers the last user text."""

    async def behave(line: Line) -> None:
        answer = json.loads(json.dumps(COMPLETION))
        content = said(line.seen.body["messages"][-1]["content"])
        answer["choices"][0]["message"]["content"] = content
        token = {"token": content, "logprob": math.log(sure), "bytes": None, "top_logprobs": []}
        answer["choices"][0]["logprobs"] = {"content": [token], "refusal": None}
        await line.answer(200, answer, {"x-understudy-cpu-ms": "2"})

    return behave


@dataclass
class Ground:
    gateway: Gateway
    client: openai.AsyncOpenAI
    teacher: Provider
    engine: Provider
    policies: Path

    async def ask(self, text: str, **more: Any) -> str:
        """→ who answered, as the header says."""
        messages: Any = [{"role": "user", "content": text}]
        answer = await self.client.chat.completions.with_raw_response.create(
            model="sorting", messages=messages, **more
        )
        return answer.headers["x-understudy-candidate"]

    async def pairs(self, count: int) -> list[PairRecord]:
        """Waits until so many comparisons were recorded."""
        for _ in range(6000):
            found = [one for one in self.gateway.records() if isinstance(one, PairRecord)]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"only {len(found)} of {count} pairs came")

    def prove(self) -> Student:
        """Ingests what the gateway recorded, lets the trainer look once, and returns the student."""
        home = self.gateway.home
        fresh = [one for one in self.gateway.records() if isinstance(one, CallRecord | PairRecord)]
        writer = SqlWriter(write_engine(home.database_url))
        with writer.transaction() as connection:
            ingest(connection, fresh, {})
        writer.close()
        return self.look()

    def look(self) -> Student:
        home = self.gateway.home
        reader, writer = open_reader(home), open_writer(home)
        try:
            promoter = Promoter(reader, writer, Issuer.of(home), home.root / "standings.json", time.time)
            promoter.tick(policy_files.load(self.policies, {}))
            return reader.students()[0]
        finally:
            reader.close()
            writer.close()

    def path(self) -> Path:
        (path,) = self.gateway.home.certificates.glob("*.json")
        return path

    def certificate(self) -> Certificate:
        return read_envelope(self.path().read_bytes()).certificate

    async def serving(self) -> None:
        """Waits until the gateway knows of the promotion, and gives the student a call."""
        for _ in range(2000):
            if await self.ask("is anybody there") == "students/stu":
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the student never served")


def install(home: Home, student: Student, stage: Stage) -> None:
    migrated(home)
    writer = SqlWriter(write_engine(home.database_url))
    lineage = msgspec.to_builtins(Lineage(dataset="d" * 64, seed=0, code_version="0", earlier_promotions=0))
    try:
        made = writer.execute(AddStudent(student, "d" * 64, {"lineage": lineage}, 1.0))
        for step in (Stage.SHADOW, Stage.CANARY, Stage.LIVE)[: 1 + ["shadow", "canary", "live"].index(stage)]:
            made = writer.execute(
                MoveStudent(
                    student=student.id, to=step, paused=False, expected_epoch=made.epoch, actor="trainer", reason="",
                    at=5.0, certificate="c" * 64, detail={},
                )
            )  # fmt: skip
    finally:
        writer.close()


@asynccontextmanager
async def ground(
    tmp: Path, teacher: Provider, engine: Provider, *, learn: str = "", promotion: str = "", gateway_yaml: str = "",
    stage: Stage = Stage.SHADOW, recipe: str = "classifier", judge: Provider | None = None,
) -> AsyncIterator[Ground]:  # fmt: skip
    socket = str(tmp / "e.sock")
    task = TASK.replace("LEARN", f", {learn}" if learn else "")
    policies = write_policies(
        tmp / "policies",
        {"first": teacher.url} | ({"second": judge.url} if judge else {}),
        extra=task,
        gateway=gateway_yaml,
    )
    text = (policies / "gateway.yaml").read_text()
    students = f"providers:\n  students: {{type: classifier, socket: {socket}}}\n"
    (policies / "gateway.yaml").write_text(text.replace("providers:\n", students, 1))
    if promotion:
        (policies / "promotion.yaml").write_text(promotion)
    slices = next(one for one in policy_files.load(policies, {}).tasks if one.name == "sorting").learn.slices  # type: ignore[union-attr]
    student = Student(
        id="stu", project="default", task="sorting", fingerprint=SHAPE, version=1, recipe=recipe, round=1,
        threshold=0.8, slices=tuple(slices), max_answer_tokens=20,
    )  # fmt: skip
    await asyncio.to_thread(install, Home(tmp / "home").prepare(), student, stage)
    server = await asyncio.start_unix_server(engine._serve, socket)
    try:
        async with (
            gateway(tmp, policies) as made,
            openai.AsyncOpenAI(base_url=made.base_url, api_key=KEY, max_retries=0) as client,
        ):
            yield Ground(made, client, teacher, engine, policies)
    finally:
        server.close()
