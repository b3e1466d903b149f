"""Batches are worked on in turn: many of one project do not hold up another project's first."""

from __future__ import annotations

import asyncio

import openai
from gateway_server import Gateway
from more_gateway import jsonl, line
from scripted import Line, Provider, usual

from gateway.retrieval.turns import InTurn


async def begun(client: openai.AsyncOpenAI, word: str) -> str:
    file = await client.files.create(file=("b.jsonl", jsonl([line(word)])), purpose="batch")
    made = await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    return made.id


async def completed(client: openai.AsyncOpenAI, batch: str) -> None:
    async with asyncio.timeout(60):
        while (await client.batches.retrieve(batch)).status != "completed":
            await asyncio.sleep(0.02)


async def test_a_projects_first_batch_waits_for_nobodys_queue(
    served: Gateway, client: openai.AsyncOpenAI, foreign: openai.AsyncOpenAI, upstream: Provider
) -> None:
    release, busy = asyncio.Event(), asyncio.Event()

    async def behave(line: Line) -> None:
        if line.seen.body["messages"][0]["content"].startswith("slow"):
            if sum(one.body["messages"][0]["content"].startswith("slow") for one in upstream.seen) == 7:
                busy.set()
            await release.wait()
        await usual(line)

    upstream.behave = behave
    many = [await begun(client, f"slow{at}") for at in range(10)]
    await asyncio.wait_for(busy.wait(), 60)
    for at in range(2):  # whenever it comes again
        await completed(foreign, await begun(foreign, f"quick{at}"))
    assert sum(one.body["messages"][0]["content"].startswith("slow") for one in upstream.seen) == 7
    release.set()
    for batch in many:
        await completed(client, batch)


def test_turns_go_round_and_leave_a_place() -> None:
    turns: InTurn[str] = InTurn(lambda place: place[0], places=3, each=2)
    at_work: list[str] = []
    waiting = ["a1", "a2", "a3", "a4", "b1", "c1"]

    def take(*others: str) -> list[str]:
        taken = []
        for place in turns.of([one for one in waiting if one not in others], at_work):
            at_work.append(place)
            turns.begun(place)
            taken.append(place)
        return taken

    assert take() == ["a1", "b1", "c1"]
    assert take() == []
    at_work.remove("b1")
    assert take("b1") == ["a2"]
    at_work.remove("c1")
    assert take("b1", "c1") == [], "a project has two places at most"
