"""Files go into vector stores in turn: one project's many files do not hold up another project's first."""

from __future__ import annotations

import asyncio
from pathlib import Path

import openai
from more_gateway import FOREIGN, SETTINGS, client_of
from more_gateway import served as serve
from scripted import Line, Provider

EMBEDDED = SETTINGS + "vector_stores: {model: {provider: first, model: m}}\n"


async def filled(client: openai.AsyncOpenAI, texts: list[str]) -> str:
    files = [(await client.files.create(file=(f"{one}.txt", one.encode()), purpose="assistants")).id for one in texts]
    store = await client.vector_stores.create()
    await client.vector_stores.file_batches.create(store.id, file_ids=files)
    return store.id


async def taken_in(client: openai.AsyncOpenAI, store: str, count: int) -> None:
    async with asyncio.timeout(60):
        while (await client.vector_stores.retrieve(store)).file_counts.completed < count:
            await asyncio.sleep(0.02)


async def test_a_projects_first_file_waits_for_nobodys_queue(tmp_path: Path, upstream: Provider) -> None:
    release, busy, at_once = asyncio.Event(), asyncio.Event(), [0, 0]

    async def embedding(line: Line) -> None:
        if line.seen.body["input"][0].startswith("slow"):
            at_once[0] += 1
            at_once[1] = max(at_once)
            if at_once[0] == 2:
                busy.set()
            await release.wait()
            at_once[0] -= 1
        data = [{"object": "embedding", "index": at, "embedding": [1.0]} for at in range(len(line.seen.body["input"]))]
        await line.answer(body={
            "object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3},
        })  # fmt: skip

    upstream.behave = embedding
    async with (
        serve(tmp_path, upstream, EMBEDDED) as made, client_of(made) as many, client_of(made, FOREIGN) as few,
    ):  # fmt: skip
        first = await filled(many, [f"slow{at}" for at in range(12)])
        await asyncio.wait_for(busy.wait(), 30)
        for at in range(3):  # whenever it comes again
            await taken_in(few, await filled(few, [f"quick{at}"]), 1)
        assert (await many.vector_stores.retrieve(first)).file_counts.completed == 0
        release.set()
        await taken_in(many, first, 12)
        assert at_once[1] == 2, "one project has two of the three places at most"
