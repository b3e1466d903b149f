"""A gateway with a certified student of the task ``sorting``, whose engine says what the test lets it say."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway_server import Gateway, gateway, write_policies
from migrated import migrated
from scripted import Behaviour, Line, Provider
from surface_helpers import completion

from gateway.protocol.chat import ChatRequest, Message
from gateway.protocol.fingerprint import fingerprint
from gateway.storage.commands import AddStudent, MoveStudent
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.writing.writer import SqlWriter
from optimizer.rollout import Stage, Student

TASK = """  - name: sorting
    candidates: [{provider: first, model: m}]
    teacher: {provider: first, model: m, may_train_on_outputs: true}
    capture: {rate: 1.0}
    learn: {ceiling_rate: 0}
    watch: {reask_rate: 1.0e-12}  # no random re-ask reaches the teacher here
"""
SHAPE = fingerprint(ChatRequest(model="sorting", messages=[Message(role="user", content="x")]))


def sure_of(text: str) -> Behaviour:
    """An engine that says ``text`` and is sure of it."""

    async def behave(line: Line) -> None:
        token = {"token": text, "logprob": math.log(0.97), "bytes": None, "top_logprobs": []}
        answer = completion({"content": text}, logprobs={"content": [token], "refusal": None})
        await line.answer(200, answer, {"x-understudy-cpu-ms": "2"})

    return behave


def install(home: Home, shape: str = SHAPE) -> None:
    migrated(home)
    writer = SqlWriter(write_engine(home.database_url))
    try:
        student = Student(id="stu", project="default", task="sorting", fingerprint=shape, version=1,
                          recipe="classifier", round=1, threshold=0.8)  # fmt: skip
        made = writer.execute(AddStudent(student, "data", {}, 1.0))
        for stage in (Stage.SHADOW, Stage.CANARY, Stage.LIVE):
            made = writer.execute(MoveStudent(
                student="stu", to=stage, paused=False, expected_epoch=made.epoch, actor="trainer", reason="gates passed",
                at=5.0, certificate="cert", detail={},
            ))  # fmt: skip
    finally:
        writer.close()


@asynccontextmanager
async def house(
    folder: Path, upstream: Provider, engine: Provider, shape: str = SHAPE
) -> AsyncIterator[Gateway]:
    """The student is certified for ``shape``; ``upstream`` is its teacher."""
    socket = str(folder / "e.sock")
    policies = write_policies(folder / "policies", {"first": upstream.url}, extra=TASK)
    text = (policies / "gateway.yaml").read_text()
    students = f"providers:\n  students: {{type: classifier, socket: {socket}}}\n"
    (policies / "gateway.yaml").write_text(text.replace("providers:\n", students, 1))
    await asyncio.to_thread(install, Home(folder / "home").prepare(), shape)
    server = await asyncio.start_unix_server(engine._serve, socket)
    try:
        async with gateway(folder, policies) as made:
            yield made
    finally:
        server.close()
