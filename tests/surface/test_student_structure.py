"""A student's text is served only when it has the form that was asked for; otherwise the teacher answers."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_server import Gateway, gateway, write_policies
from scripted import Line, Provider
from surface_helpers import completion
from test_student_dialects import TASK, install

from gateway.protocol.chat import ChatRequest, Message
from gateway.protocol.fingerprint import fingerprint
from gateway.storage.home import Home
from gateway.storage.records import CallRecord

FORM: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "label", "schema": {"type": "object", "properties": {"label": {"enum": ["billing"]}}, "required": ["label"]}},
}  # fmt: skip
SHAPE = fingerprint(
    ChatRequest(model="sorting", messages=[Message(role="user", content="x")], response_format=FORM)
)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider, said: list[str]) -> AsyncIterator[Gateway]:
    async def speak(line: Line) -> None:
        token = {"token": said[0], "logprob": math.log(0.97), "bytes": None, "top_logprobs": []}
        answer = completion({"content": said[0]}, logprobs={"content": [token], "refusal": None})
        await line.answer(200, answer, {"x-understudy-cpu-ms": "2"})

    engine, socket = Provider(), str(tmp_path / "e.sock")
    engine.behave = speak
    policies = write_policies(tmp_path / "policies", {"first": upstream.url}, extra=TASK)
    text = (policies / "gateway.yaml").read_text()
    students = f"providers:\n  students: {{type: classifier, socket: {socket}}}\n"
    (policies / "gateway.yaml").write_text(text.replace("providers:\n", students, 1))
    await asyncio.to_thread(install, Home(tmp_path / "home").prepare(), SHAPE)
    server = await asyncio.start_unix_server(engine._serve, socket)
    try:
        async with gateway(tmp_path, policies) as made:
            yield made
    finally:
        server.close()


@pytest.mark.parametrize(
    ("text", "outcomes"),
    [(json.dumps({"label": "billing"}), ["ok"]), (json.dumps({"label": "other"}), ["invalid", "ok"]), ("billing", ["invalid", "ok"])],
)  # fmt: skip
async def test_a_students_json_must_satisfy_the_schema(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, said: list[str], text: str, outcomes: list[str]
) -> None:
    said.append(text)
    ask: Any = [{"role": "user", "content": "my invoice is wrong"}]
    answer = await client.chat.completions.create(model="sorting", messages=ask, response_format=FORM)  # type: ignore[call-overload]
    (call,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert [one.outcome for one in call.attempts] == outcomes
    assert (answer.choices[0].message.content == text) is (outcomes == ["ok"])
    assert bool(upstream.seen) is (outcomes != ["ok"])
