"""/v1/messages/batches through the unmodified anthropic client: the whole life of a batch, and what is refused."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from gateway_server import KEY, Gateway
from more_gateway import FOREIGN, served
from scripted import Line, Provider
from test_batches_api import refusing

from gateway.storage.records import CallRecord


def request(custom_id: str, **more: Any) -> Any:
    said = [{"role": "user", "content": custom_id}]
    return {"custom_id": custom_id, "params": {"model": "triage", "max_tokens": 50, "messages": said, **more}}


async def ended(claude: anthropic.AsyncAnthropic, batch_id: str, within: float = 90.0) -> Any:
    until = time.monotonic() + within
    while time.monotonic() < until:
        batch = await claude.messages.batches.retrieve(batch_id)
        if batch.processing_status == "ended":
            return batch
        assert batch.ended_at is None and batch.results_url is None
        await asyncio.sleep(0.02)
    pytest.fail(f"the batch is still {batch.processing_status}: {batch.request_counts}")


async def results(claude: anthropic.AsyncAnthropic, batch_id: str) -> dict[str, Any]:
    found = [one async for one in await claude.messages.batches.results(batch_id)]
    assert len({one.custom_id for one in found}) == len(found)
    return {one.custom_id: one.result for one in found}


async def test_a_batch_from_requests_to_results(
    claude: anthropic.AsyncAnthropic, served: Gateway, upstream: Provider
) -> None:
    upstream.behave = refusing
    made = await claude.messages.batches.create(requests=[request("one"), request("refuse-me"), request("three")])
    assert made.id.startswith("msgbatch_") and (made.type, made.processing_status) == ("message_batch", "in_progress")
    assert (made.expires_at - made.created_at).total_seconds() == 86_400
    batch = await ended(claude, made.id)
    assert batch.request_counts.to_dict() == {"processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0}
    assert batch.ended_at is not None and batch.cancel_initiated_at is None
    found = await results(claude, made.id)
    good, bad = found["one"], found["refuse-me"]
    assert good.type == "succeeded" and good.message.content[0].text == "hello" and good.message.usage.output_tokens > 0
    assert bad.type == "errored" and bad.error.error.type == "invalid_request_error" and "no" in bad.error.error.message
    calls = [one for one in served.records() if isinstance(one, CallRecord)]
    assert len(calls) == 3 and {one.endpoint for one in calls} == {"messages"} and all(one.batch for one in calls)


async def test_a_message_batch_is_one_of_openais_too(
    claude: anthropic.AsyncAnthropic, client: openai.AsyncOpenAI
) -> None:
    made = await claude.messages.batches.create(requests=[request("one")])
    await ended(claude, made.id)
    other = await client.batches.retrieve(made.id.replace("msgbatch_", "batch_"))
    assert (other.endpoint, other.status) == ("/v1/messages", "completed")
    assert other.usage is not None and other.usage.output_tokens > 0


async def test_pages_hold_batches_of_messages_alone(claude: anthropic.AsyncAnthropic, client: openai.AsyncOpenAI) -> None:
    made = [(await claude.messages.batches.create(requests=[request("one")])).id for _ in range(4)]
    line = b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "triage", "messages": []}}'
    file = await client.files.create(file=("in.jsonl", line), purpose="batch")
    chat = await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    newest = made[::-1]
    page = await claude.messages.batches.list(limit=3)
    assert [one.id for one in page.data] == newest[:3] and page.has_more
    assert [one.id async for one in claude.messages.batches.list(limit=2)] == newest
    before = await claude.messages.batches.list(limit=2, before_id=newest[3])
    assert [one.id for one in before.data] == newest[1:3] and before.has_more
    with pytest.raises(anthropic.NotFoundError, match="no message batch"):
        await claude.messages.batches.retrieve(chat.id.replace("batch_", "msgbatch_"))
    for query in ({"after_id": "msgbatch_nobody"}, {"before_id": "batch_"}, {"limit": 0}, {"limit": 1001}):
        with pytest.raises(anthropic.BadRequestError):
            await claude.messages.batches.list(**query)  # type: ignore[arg-type]


async def test_who_cancels_is_told_what_nobody_asked_any_more(
    claude: anthropic.AsyncAnthropic, http: httpx.AsyncClient, upstream: Provider
) -> None:
    async def slow(line: Line) -> None:
        if int(line.seen.body["messages"][0]["content"]) >= 8:
            await asyncio.sleep(0.2)
        await line.answer()

    upstream.behave = slow
    made = await claude.messages.batches.create(requests=[request(str(at)) for at in range(300)])
    while (await claude.messages.batches.retrieve(made.id)).request_counts.succeeded < 8:
        await asyncio.sleep(0.05)
    with pytest.raises(anthropic.AnthropicError, match="results"):
        await claude.messages.batches.results(made.id)
    early = await http.get(f"/v1/messages/batches/{made.id}/results")
    assert (early.status_code, early.json()["error"]["type"]) == (404, "not_found_error")
    kept = await http.delete(f"/v1/messages/batches/{made.id}")
    assert (kept.status_code, kept.json()["type"], kept.headers["allow"]) == (405, "error", "GET, HEAD, OPTIONS")
    stopped = await claude.messages.batches.cancel(made.id)
    assert stopped.processing_status == "canceling" and stopped.cancel_initiated_at is not None
    batch = await ended(claude, made.id)
    found = await results(claude, made.id)
    kinds = [one.type for one in found.values()]
    assert len(found) == 300 and set(kinds) == {"succeeded", "canceled"}
    counts = batch.request_counts
    assert (kinds.count("succeeded"), kinds.count("canceled")) == (counts.succeeded, counts.canceled)
    again = await claude.messages.batches.cancel(made.id)
    assert again.processing_status == "ended"


async def test_what_the_window_left_unasked_is_expired(tmp_path: Path, upstream: Provider) -> None:
    upstream.behave = lambda line: line.answer(429, {"error": {"message": "slow down"}}, {"retry-after": "1"})
    async with served(tmp_path, upstream) as made, client_of(made) as claude:
        batch = await claude.messages.batches.create(requests=[request(str(at)) for at in range(3)])
        while not upstream.seen:
            await asyncio.sleep(0.02)
    with closing(sqlite3.connect(made.home.database)) as database, database:  # a day later
        database.execute("update batches set expires_at = ?", (time.time() - 1,))
    async with served(tmp_path, upstream) as made, client_of(made) as claude:
        found = await ended(claude, batch.id)
        assert (found.request_counts.expired, found.request_counts.errored) == (3, 0)
        assert {one.type for one in (await results(claude, batch.id)).values()} == {"expired"}


def client_of(made: Gateway, key: str = KEY) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=made.url, api_key=key, max_retries=0)


async def test_another_projects_batch_is_nobodys(claude: anthropic.AsyncAnthropic, served: Gateway) -> None:
    made = await claude.messages.batches.create(requests=[request("one")])
    await ended(claude, made.id)
    async with client_of(served, FOREIGN) as foreign:
        for call in (foreign.messages.batches.retrieve, foreign.messages.batches.cancel, foreign.messages.batches.results):
            with pytest.raises(anthropic.NotFoundError):
                await call(made.id)
        assert (await foreign.messages.batches.list()).data == []
    async with client_of(served, "nobody-has-this-key-00001") as stranger:
        with pytest.raises(anthropic.AuthenticationError):
            await stranger.messages.batches.create(requests=[request("one")])


ONE = request("one")
WRONG: dict[str, Any] = {
    "requests": [],
    "requests.0.custom_id": [{**ONE, "custom_id": "not so good"}],
    "requests.1.custom_id": [ONE, ONE],
    "requests.0.params": [{"custom_id": "one", "params": {}}],
    "requests.0.params.stream": [request("one", stream=True)],
}


@pytest.mark.parametrize("where", WRONG)
async def test_what_is_wrong_with_a_request_is_told_with_its_place(
    claude: anthropic.AsyncAnthropic, upstream: Provider, where: str
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=where) as refused:
        await claude.messages.batches.create(requests=WRONG[where])
    assert refused.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]
    assert (await claude.messages.batches.list()).data == [] and upstream.seen == []
