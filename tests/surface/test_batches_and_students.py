"""A line of a batch has no headers: what keeps students away is said for all lines where the batch is made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_server import Gateway
from scripted import Provider
from student_house import house, sure_of

FORCE = "x-understudy-force"
LINE = {"custom_id": "one", "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": "sorting", "messages": [{"role": "user", "content": "my invoice is wrong"}]}}  # fmt: skip


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    engine = Provider()
    engine.behave = sure_of("billing")
    async with house(tmp_path, upstream, engine) as made:
        yield made


async def made(client: openai.AsyncOpenAI, **more: Any) -> Any:
    file = await client.files.create(file=("in.jsonl", json.dumps(LINE).encode()), purpose="batch")
    return await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **more
    )


async def said(client: openai.AsyncOpenAI, batch: Any) -> str:
    async with asyncio.timeout(90):
        while (batch := await client.batches.retrieve(batch.id)).status != "completed":
            await asyncio.sleep(0.02)
    answer = json.loads((await client.files.content(batch.output_file_id)).content)
    return str(answer["response"]["body"]["choices"][0]["message"]["content"])


async def test_the_teacher_answers_every_line_of_a_batch_that_asks_for_it(client: openai.AsyncOpenAI) -> None:
    assert await said(client, await made(client)) == "billing"
    asked = await made(client, extra_headers={FORCE: "teacher"}, metadata={"why": "audit"})
    assert asked.metadata == {"why": "audit", FORCE: "teacher"}, "it holds after a restart too"
    assert await said(client, asked) == "hello"
    assert await said(client, await made(client, metadata={FORCE: "teacher"})) == "hello"


async def test_a_value_that_nobody_knows_makes_no_batch(client: openai.AsyncOpenAI) -> None:
    for more in ({"extra_headers": {FORCE: "teachers"}}, {"metadata": {FORCE: "Teacher"}}):
        with pytest.raises(openai.BadRequestError, match="the one value 'teacher'"):
            await made(client, **more)
    assert [one async for one in client.batches.list()] == []
