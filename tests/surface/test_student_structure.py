"""A student's text is served only when it has the form that was asked for; otherwise the teacher answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_server import Gateway
from scripted import Line, Provider
from student_house import house, sure_of

from gateway.protocol.chat import ChatRequest, Message
from gateway.protocol.fingerprint import fingerprint
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
        await sure_of(said[0])(line)

    engine = Provider()
    engine.behave = speak
    async with house(tmp_path, upstream, engine, SHAPE) as made:
        yield made


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
