"""A certified student answers whichever API a call comes in by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from gateway_server import KEY, Gateway
from scripted import Line, Provider
from student_house import house, sure_of

from gateway.storage.records import CallRecord


@pytest.fixture
def engine() -> Provider:
    made = Provider()
    made.behave = sure_of("billing")
    return made


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider, engine: Provider) -> AsyncIterator[Gateway]:
    async with house(tmp_path, upstream, engine) as made:
        yield made


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
