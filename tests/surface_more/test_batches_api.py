"""/v1/batches through the unmodified openai client: the whole life of a batch, and a gateway that is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from free_ports import free_port
from gateway_server import ADMIN, KEY, Gateway, gateway
from more_gateway import SETTINGS, client_of, jsonl, line, policies_at, served
from scripted import COMPLETION, Line, Provider

from gateway.client_data.batches import pause_before, places
from gateway.errors import BadRequest, RateLimited, Unavailable, UpstreamFailed
from gateway.storage.records import CallRecord

CHAT = "/v1/chat/completions"


async def start(client: openai.AsyncOpenAI, lines: list[Any], endpoint: Any = CHAT, **more: Any) -> Any:
    made = await client.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
    return await client.batches.create(
        input_file_id=made.id, endpoint=endpoint, completion_window="24h", **more
    )


async def ended(client: openai.AsyncOpenAI, batch_id: str, within: float = 90.0) -> Any:
    until = time.monotonic() + within
    while time.monotonic() < until:
        batch = await client.batches.retrieve(batch_id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
        await asyncio.sleep(0.02)
    pytest.fail(f"the batch is still {batch.status}: {batch.request_counts}")


async def lines_of(client: openai.AsyncOpenAI, file_id: str | None) -> dict[str, Any]:
    assert file_id is not None
    text = (await client.files.content(file_id)).text
    found = [json.loads(one) for one in text.splitlines()]
    assert len({one["custom_id"] for one in found}) == len(found)
    return {one["custom_id"]: one for one in found}


async def refusing(line: Line) -> None:
    """Refuses requests that say so."""
    if "refuse" in line.seen.body["messages"][0]["content"]:
        await line.answer(400, {"error": {"message": "no", "type": "invalid_request_error", "code": "nope"}})
    else:
        await line.answer()


async def test_a_batch_from_file_to_file(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    upstream.behave = refusing
    made = await start(client, [line("one"), line("refuse me"), line("three")], metadata={"why": "test"})
    assert (made.object, made.status, made.metadata) == ("batch", "validating", {"why": "test"})
    assert made.expires_at == made.created_at + 86_400
    batch = await ended(client, made.id)
    assert batch.status == "completed" and batch.errors is None
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (3, 2, 1)
    for moment in (batch.in_progress_at, batch.finalizing_at, batch.completed_at):
        assert moment is not None and batch.created_at <= moment <= time.time() + 1
    good, bad = await lines_of(client, batch.output_file_id), await lines_of(client, batch.error_file_id)
    assert set(good) == {"one", "three"} and set(bad) == {"refuse me"}
    bodies = [one["response"]["body"] for one in good.values()]
    assert (batch.model, batch.usage.total_tokens) == ("triage", sum(one["usage"]["total_tokens"] for one in bodies))
    assert (made.model, made.usage.total_tokens) == (None, 0)
    response = good["one"]["response"]
    assert response["status_code"] == 200 and response["request_id"].startswith("req_")
    assert response["body"]["choices"][0]["message"]["content"] == "hello"
    assert bad["refuse me"]["response"]["status_code"] == 400
    assert bad["refuse me"]["response"]["body"]["error"]["code"] == "nope"
    assert (await client.files.retrieve(batch.output_file_id)).purpose == "batch_output"
    calls = [one for one in served.records() if isinstance(one, CallRecord)]
    assert len(calls) == 3 and {one.batch for one in calls} == {made.id}
    assert {one.key_id for one in calls} == {"yaml:tests"}


async def test_every_endpoint_and_the_price_class(tmp_path: Path, upstream: Provider) -> None:
    async def both(line: Line) -> None:
        if line.seen.path.endswith("/embeddings"):
            usage = {"prompt_tokens": 1000, "total_tokens": 1000}
            data = [{"object": "embedding", "index": 0, "embedding": [1.0]}]
            await line.answer(body={"object": "list", "model": "m", "data": data, "usage": usage})
        elif line.seen.path.endswith("/moderations"):
            await line.answer(body={"id": "m", "model": "m", "results": []})
        else:
            await line.answer()

    upstream.behave = both
    folder = policies_at(tmp_path, upstream)
    main = folder / "gateway.yaml"
    main.write_text(main.read_text().replace("output: 10.0,", "output: 10.0, batch: 0.5,"))
    async with gateway(tmp_path, folder) as made, client_of(made) as client:
        body, answers = {"model": "first/m", "input": "a"}, []
        for endpoint in ("/v1/embeddings", "/v1/moderations"):
            batch = await start(client, [line("x", endpoint) | {"body": body}], endpoint)
            batch = await ended(client, batch.id)
            assert batch.request_counts.completed == 1 and batch.model == "first/m"
            assert batch.usage.input_tokens == (1000 if endpoint == "/v1/embeddings" else 0)
        more: Any
        for endpoint, more in (("/v1/responses", {"input": "a"}), ("/v1/completions", {"prompt": ["a", "b"]})):
            batch = await start(client, [line("x", endpoint) | {"body": {"model": "triage", **more}}], endpoint)
            batch = await ended(client, batch.id)
            told, times = batch.usage, 2 if endpoint == "/v1/completions" else 1
            assert (told.input_tokens, told.output_tokens, told.input_tokens_details.cached_tokens) == (1000 * times, 100 * times, 400 * times)
            answers.append((await lines_of(client, batch.output_file_id))["x"]["response"]["body"])
        other = {"model": "first/m", "messages": [{"role": "user", "content": "y"}]}
        batch = await start(client, [line("x"), line("y", body=other)])
        batch = await ended(client, batch.id)
        assert batch.request_counts.completed == 2 and batch.model is None and batch.usage.total_tokens == 2200
        await client.chat.completions.create(model="triage", messages=[{"role": "user", "content": "live"}])
        costs = {
            (one.endpoint, bool(one.batch)): one.cost_usd
            for one in made.records()
            if isinstance(one, CallRecord)
        }
    assert costs["chat", False] == pytest.approx(0.003) and costs["chat", True] == pytest.approx(0.0015)
    response = openai.types.responses.Response.model_validate(answers[0])
    assert response.output_text == "hello" and costs["responses", True] == pytest.approx(0.0015)
    assert [one["text"] for one in answers[1]["choices"]] == ["hello", "hello"]
    assert answers[1]["usage"]["completion_tokens"] == 200
    assert costs["embeddings", True] == pytest.approx(1000 * 2.5 / 1e6 / 2)


async def test_bad_lines_fail_the_batch_with_their_numbers(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    lines = [
        line("fine"),
        line("fine"),
        line("other", "/v1/embeddings"),
        line("get", method="GET"),
        line("nothing", body=None),
        line("model", body={"messages": []}),
        line("stream", body={"model": "triage", "stream": True}),
        {"method": "POST", "url": CHAT, "body": {"model": "m"}},
        [1],
    ]
    content = jsonl(lines) + b"\n  \nnot json\n"
    file = await client.files.create(file=("in.jsonl", content), purpose="batch")
    made = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    batch = await ended(client, made.id)
    assert batch.status == "failed" and batch.failed_at and batch.output_file_id is None
    assert batch.errors and batch.errors.data
    assert [(one.line, one.code) for one in batch.errors.data] == [
        (2, "duplicate_custom_id"), (3, "mismatched_url"), (4, "invalid_method"),
        (5, "missing_required_parameter"), (6, "missing_required_parameter"), (7, "invalid_parameter"),
        (8, "missing_required_parameter"), (9, "invalid_json_line"), (12, "invalid_json_line"),
    ]  # fmt: skip
    assert upstream.seen == []
    empty = await client.batches.create(
        input_file_id=(await client.files.create(file=("e", b"\n"), purpose="batch")).id,
        endpoint=CHAT, completion_window="24h",
    )  # fmt: skip
    assert (await ended(client, empty.id)).errors.data[0].code == "empty_file"


async def test_what_cannot_be_started(
    client: openai.AsyncOpenAI, foreign: openai.AsyncOpenAI, served: Gateway
) -> None:
    mine = await client.files.create(file=("in", jsonl([line("a")])), purpose="batch")
    other = await client.files.create(file=("in", b"x"), purpose="user_data")
    asked: Any = {"input_file_id": mine.id, "endpoint": CHAT, "completion_window": "24h"}
    for wrong, param in (
        ({"input_file_id": other.id}, "input_file_id"),
        ({"input_file_id": "../../secrets"}, "input_file_id"),
        ({"endpoint": "/v1/nothing"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
    ):
        with pytest.raises(openai.BadRequestError) as told:
            await client.batches.create(**{**asked, **wrong})
        assert told.value.param == param
    with pytest.raises(openai.BadRequestError):
        await foreign.batches.create(**asked)
    made = await client.batches.create(**asked)
    for ask in (foreign.batches.retrieve, foreign.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            await ask(made.id)
    assert [one async for one in foreign.batches.list()] == []
    await ended(client, made.id)
    with pytest.raises(openai.ConflictError):
        await client.batches.cancel(made.id)


async def test_listing_is_newest_first(client: openai.AsyncOpenAI) -> None:
    made = [(await start(client, [line("a")])).id for _ in range(3)]
    assert [one.id async for one in client.batches.list(limit=2)] == made[::-1]
    for one in made:
        await ended(client, one)


async def test_cancelling_keeps_what_is_done(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    async def slow(line: Line) -> None:
        if int(line.seen.body["messages"][0]["content"]) >= 8:
            await asyncio.sleep(0.2)
        await line.answer()

    upstream.behave = slow
    made = await start(client, [line(str(at)) for at in range(500)])
    while (await client.batches.retrieve(made.id)).request_counts.completed < 8:
        await asyncio.sleep(0.05)
    stopped = await client.batches.cancel(made.id)
    assert stopped.status == "cancelling" and stopped.cancelling_at
    batch = await ended(client, made.id)
    assert batch.status == "cancelled" and batch.cancelled_at
    done = await lines_of(client, batch.output_file_id)
    assert 8 <= len(done) == batch.request_counts.completed < 500 == batch.request_counts.total


async def test_an_expired_batch_says_so_on_every_line(tmp_path: Path, upstream: Provider) -> None:
    upstream.behave = lambda line: line.answer(429, {"error": {"message": "slow down"}}, {"retry-after": "1"})
    async with served(tmp_path, upstream) as made, client_of(made) as client:
        batch = await start(client, [line(str(at)) for at in range(3)])
        while not upstream.seen:
            await asyncio.sleep(0.02)
    with closing(sqlite3.connect(made.home.database)) as database, database:  # a day later
        database.execute("update batches set expires_at = ?", (time.time() - 1,))
    async with served(tmp_path, upstream) as made, client_of(made) as client:
        found = await ended(client, batch.id)
        lines = await lines_of(client, found.error_file_id)
    assert found.status == "expired" and found.expired_at and found.output_file_id is None
    assert (found.request_counts.total, found.request_counts.failed) == (3, 3)
    assert {one["error"]["code"] for one in lines.values()} == {"batch_expired"}


def test_live_traffic_goes_first() -> None:
    assert places(8, 0, 1) == 8 and places(8, 3, 1) == 5 and places(8, 100, 1) == 1
    assert places(8, 0, 4) == 2 and places(8, 0, 100) == 1
    assert pause_before(RateLimited("x", headers={"retry-after": "7"}), 1) == 7
    assert pause_before(RateLimited("x", headers={"retry-after": "700"}), 1) == 30
    assert pause_before(RateLimited("x", code="insufficient_quota"), 1) is None
    assert pause_before(Unavailable("x", code="overloaded"), 3) == 8
    assert pause_before(UpstreamFailed("x"), 1) == 1 and pause_before(UpstreamFailed("x"), 3) is None
    assert pause_before(BadRequest("x"), 1) is None


# ---------------------------------------------------------------- a gateway that is killed
class Process:
    def __init__(self, tmp: Path, policies: Path) -> None:
        self.port = free_port()
        self.home, self.policies = tmp / "home", policies
        self.running: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        words = ["-m", "gateway.cli", "serve", "--policies", str(self.policies), "--home", str(self.home)]
        self.running = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [sys.executable, *words, "--port", str(self.port)],
            env={**os.environ, "UNDERSTUDY_ADMIN_KEY": ADMIN}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        async with httpx.AsyncClient() as http:
            for _ in range(4000):
                try:
                    if (await http.get(f"http://127.0.0.1:{self.port}/healthz")).status_code == 200:
                        return
                except httpx.HTTPError:
                    await asyncio.sleep(0.05)
        pytest.fail("the gateway did not start")

    def kill(self) -> None:
        assert self.running is not None
        self.running.send_signal(signal.SIGKILL)
        self.running.wait()


async def test_kill_9_between_lines_asks_nothing_answered_again(tmp_path: Path, upstream: Provider) -> None:
    answered: Counter[str] = Counter()
    torn = 3

    async def counted(line: Line) -> None:
        await asyncio.sleep(0.03)
        answered[line.seen.body["messages"][0]["content"]] += 1
        await line.answer(body=COMPLETION)

    upstream.behave = counted
    settings = SETTINGS + "batches: {concurrency: 2}\n"
    process = Process(tmp_path, policies_at(tmp_path, upstream, settings))
    await process.start()
    try:
        async with openai.AsyncOpenAI(base_url=process.base_url, api_key=KEY, max_retries=4) as client:
            made = await start(client, [line(str(at)) for at in range(60)])
            while len(answered) < 20:
                await asyncio.sleep(0.01)
            process.kill()
            (output,) = [path for path in process.home.joinpath("files").iterdir() if b'"response"' in path.read_bytes()]
            kept = {json.loads(one)["custom_id"] for one in output.read_text().splitlines() if one.endswith("}")}
            with output.open("ab") as file:
                file.write(b'{"custom_id": "torn')
            before = Counter(answered)
            await process.start()
            batch = await ended(client, made.id, within=30)
            assert batch.status == "completed"
            assert (batch.request_counts.completed, batch.request_counts.failed) == (60, 0)
            assert (batch.model, batch.usage.total_tokens) == ("triage", 60 * 1100)
            done = await lines_of(client, batch.output_file_id)
            assert set(done) == {str(at) for at in range(60)}
            assert kept and all(answered[one] == before[one] == 1 for one in kept)
            assert sum(answered.values()) <= 60 + torn  # only what was in flight is asked twice
    finally:
        process.kill()
