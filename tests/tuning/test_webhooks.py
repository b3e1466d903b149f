"""Webhooks: signed as OpenAI's, told once and again until they are taken, and only what they asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_server import KEY, gateway
from scripted import provider
from tuning_parts import OTHER, policies, tickets, until
from webhook_receiver import Got, receiver

from gateway.config import Webhook
from gateway.storage.data_values import AddEvent
from gateway.storage.home import Home
from gateway.storage.migrations import migrate
from gateway.storage.reading.reader import open_reader
from gateway.storage.writing.writers import open_writer
from gateway.webhooks import Deliveries

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODk="


def unwrapped(got: Got) -> list[Any]:
    with openai.OpenAI(api_key="x") as client:
        return [client.webhooks.unwrap(body, headers, secret=SECRET) for body, headers in got]


async def heard(got: Got, count: int) -> list[Any]:
    async def look() -> int:
        return len(got)

    await until(look, lambda found: found >= count, 30)
    return unwrapped(got)


def webhooks(url: str, more: str = "") -> str:
    return f"webhooks: [{{url: '{url}', secret: '{SECRET}'{more}}}]"


async def test_jobs_batches_and_responses_are_told_of(root: Path, jsonl: Any) -> None:
    async with receiver() as (url, got), provider() as upstream:
        folder = policies(root / "policies", webhooks(url, ", project: default"))
        text = (folder / "all.yaml").read_text()
        (folder / "all.yaml").write_text(text.replace("http://127.0.0.1:9/v1", upstream.url))
        async with (
            gateway(root, folder) as served,
            openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client,
            openai.AsyncOpenAI(base_url=served.base_url, api_key=OTHER, max_retries=0) as stranger,
        ):
            for one in (stranger, client):
                rows = await one.files.create(file=("rows.jsonl", jsonl(tickets(20))), purpose="fine-tune")
                job = await one.fine_tuning.jobs.create(model="auto", training_file=rows.id)
                await one.fine_tuning.jobs.cancel(job.id)
            (event,) = await heard(got, 1)
            assert (event.type, event.data.id) == ("fine_tuning.job.cancelled", job.id)
            lines = await client.files.create(file=("lines.jsonl", b"nonsense\n"), purpose="batch")
            batch = await client.batches.create(
                input_file_id=lines.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            *_, event = await heard(got, 2)
            assert (event.type, event.data.id) == ("batch.failed", batch.id)
            made = await client.responses.create(model="triage", input="hi", background=True)
            *_, event = await heard(got, 3)
            assert (event.type, event.data.id) == ("response.completed", made.id)
            assert len({event.id for event in unwrapped(got)}) == 3


async def deliver(home: Home, settings: list[Webhook], look: Callable[[], Awaitable[None]]) -> None:
    reader, writer = open_reader(home), open_writer(home)
    work = asyncio.create_task(Deliveries(lambda: settings, reader, writer, wait_s=0.05).run())
    try:
        await look()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        reader.close()
        writer.close()


async def test_an_endpoint_that_fails_is_asked_again_and_the_other_one_is_not(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    migrate(home.database_url)
    writer = open_writer(home)
    now = time.time()
    for _ in range(2):  # announced twice, it is one event
        writer.execute(AddEvent("default", "batch.completed", "batch_1", now))
    writer.execute(AddEvent("default", "batch.failed", "batch_2", now - 4 * 86_400))
    async with (
        receiver(lambda got: 503 if len(got) < 3 else 200) as (flaky, often),
        receiver() as (steady, once),
        receiver() as (unasked, never),
    ):
        settings = [
            Webhook(url=flaky, secret=SECRET),
            Webhook(url=steady, secret=SECRET, events=["batch.completed"]),
            Webhook(url=unasked, secret=SECRET, events=["batch.failed"]),
        ]

        async def look() -> None:
            found = await heard(often, 3)
            assert len({event.id for event in found}) == 1
            reader = open_reader(home)
            waiting = lambda: asyncio.to_thread(reader.event_waiting, time.time() + 10_000)  # noqa: E731
            await until(waiting, lambda left: not left, 20)
            reader.close()

        await deliver(home, settings, look)
        assert (len(often), len(once), len(never)) == (3, 1, 0)
    with pytest.raises(openai.InvalidWebhookSignatureError), openai.OpenAI(api_key="x") as client:
        client.webhooks.unwrap(once[0][0] + b" ", once[0][1], secret=SECRET)
    writer.close()
