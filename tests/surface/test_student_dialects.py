"""A certified student answers whichever API a call comes in by."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from migrated import migrated
from scripted import Line, Provider
from surface_helpers import completion

from gateway.protocol.chat import ChatRequest, Message
from gateway.protocol.fingerprint import fingerprint
from gateway.storage.commands import AddStudent, MoveStudent
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.records import CallRecord
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


async def label(line: Line) -> None:
    """An engine that is sure."""
    token = {"token": "billing", "logprob": math.log(0.97), "bytes": None, "top_logprobs": []}
    answer = completion({"content": "billing"}, logprobs={"content": [token], "refusal": None})
    await line.answer(200, answer, {"x-understudy-cpu-ms": "2"})


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


@pytest.fixture
def engine() -> Provider:
    made = Provider()
    made.behave = label
    return made


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider, engine: Provider) -> AsyncIterator[Gateway]:
    socket = str(tmp_path / "e.sock")
    policies = write_policies(tmp_path / "policies", {"first": upstream.url}, extra=TASK)
    text = (policies / "gateway.yaml").read_text()
    students = f"providers:\n  students: {{type: classifier, socket: {socket}}}\n"
    (policies / "gateway.yaml").write_text(text.replace("providers:\n", students, 1))
    await asyncio.to_thread(install, Home(tmp_path / "home").prepare())
    server = await asyncio.start_unix_server(engine._serve, socket)
    try:
        async with gateway(tmp_path, policies) as made:
            yield made
    finally:
        server.close()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_student_answers_in_every_dialect(
    client: openai.AsyncOpenAI,
    claude: anthropic.AsyncAnthropic,
    served: Gateway,
    upstream: Provider,
    streamed: bool,
) -> None:
    ask: Any = [{"role": "user", "content": "my invoice is wrong"}]
    if streamed:
        async with client.responses.stream(model="sorting", input="my invoice is wrong") as events:
            said = [(await events.get_final_response()).output_text]
        async with claude.messages.stream(model="sorting", max_tokens=9, messages=ask) as texts:
            said.append("".join([text async for text in texts.text_stream]))
        chunks = await client.completions.create(model="sorting", prompt="my invoice is wrong", stream=True)
        said.append("".join([one.choices[0].text async for one in chunks]))
    else:
        said = [(await client.responses.create(model="sorting", input="my invoice is wrong")).output_text]
        said.append(
            (await claude.messages.create(model="sorting", max_tokens=9, messages=ask)).content[0].text
        )
        said.append(
            (await client.completions.create(model="sorting", prompt="my invoice is wrong")).choices[0].text
        )
    assert said == ["billing"] * 3
    assert not upstream.seen
    records = [one for one in served.records() if isinstance(one, CallRecord)]
    assert [(one.endpoint, one.student, one.arm) for one in records] == [
        ("responses", "stu", "live"), ("messages", "stu", "live"), ("completions", "stu", "live"),
    ]  # fmt: skip


async def test_a_student_whose_engine_is_broken_is_soon_not_asked_any_more(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, engine: Provider
) -> None:
    async def broken(line: Line) -> None:
        line.writer.transport.abort()

    engine.behave = broken
    for _ in range(20):
        await client.completions.create(model="sorting", prompt="my invoice is wrong")
    assert len(upstream.seen) == 20 and len(engine.seen) == 5


async def test_a_call_with_tools_goes_to_the_teacher(
    http: httpx.AsyncClient, served: Gateway, upstream: Provider
) -> None:
    tools = [{"name": "weather", "input_schema": {"type": "object"}}]
    body = {
        "model": "sorting",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
        "tools": tools,
    }
    answer = await http.post("/v1/messages", json=body, headers={"authorization": "", "x-api-key": KEY})
    assert answer.json()["content"][0]["text"] == "hello"
    assert len(upstream.seen) == 1
