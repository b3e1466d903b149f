"""A client that hangs up frees its provider within 250 ms: on every route that asks one, streamed or not, before the
first byte of the answer and after it. What the call held is given back, too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from scripted import CHUNKS, COMPLETION, Line, Provider, sse, usual

SETTINGS = """surface: {embeddings: first, images: first, audio: first, moderations: {provider: first, model: m}}
timeouts: {connect: 30, first_byte: 30, chunk_gap: 30, total: 60}
upstreams: {first: {max_concurrent: 1, max_queue: 0}}
limits: {projects: {default: {concurrency: 1, budget_usd_day: 1000}}}
"""
TURNS = {"messages": [{"role": "user", "content": "hi"}]}
FORM = {"model": (None, "first/m"), "prompt": (None, "hi"), "file": ("a.wav", b"RIFF"), "image": ("a.png", b"PNG")}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}

WHOLE: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"json": {"model": "triage", **TURNS}}),
    "completions": ("/v1/completions", {"json": {"model": "triage", "prompt": "hi"}}),
    "responses": ("/v1/responses", {"json": {"model": "triage", "input": "hi"}}),
    "messages": ("/v1/messages", {"json": {"model": "triage", "max_tokens": 9, **TURNS}}),
    "gemini": ("/v1beta/models/triage:generateContent", {"json": GEMINI}),
    "embeddings": ("/v1/embeddings", {"json": {"model": "first/m", "input": "hi"}}),
    "moderations": ("/v1/moderations", {"json": {"input": "hi"}}),
    "images": ("/v1/images/generations", {"json": {"model": "first/m", "prompt": "hi"}}),
    "image edits": ("/v1/images/edits", {"files": FORM}),
    "image variations": ("/v1/images/variations", {"files": FORM}),
    "speech": ("/v1/audio/speech", {"json": {"model": "first/m", "input": "hi", "voice": "alloy"}}),
    "transcriptions": ("/v1/audio/transcriptions", {"files": FORM}),
    "translations": ("/v1/audio/translations", {"files": FORM}),
    "graders": ("/v1/fine_tuning/alpha/graders/run", {"json": {
        "model_sample": "x", "item": {}, "grader": {"type": "score_model", "name": "g", "model": "triage", "input": [
            {"role": "user", "content": "How good is {{sample.output_text}}?"}]}}}),
}  # fmt: skip
STREAMED = {
    name: (path.replace(":generateContent", ":streamGenerateContent?alt=sse"), {"json": {**sent["json"], "stream": True}})
    for name, (path, sent) in WHOLE.items()
    if name in ("chat", "completions", "responses", "messages", "images")
} | {"gemini": ("/v1beta/models/triage:streamGenerateContent?alt=sse", {"json": GEMINI})}
ROUTES = {**WHOLE, **{f"{name}, streamed": sent for name, sent in STREAMED.items()}}


async def before_the_first_byte(line: Line) -> None:
    await line.hang()


async def after_it(line: Line) -> None:
    """Begins an answer, whatever it is to be, and says no more."""
    if line.seen.body and isinstance(line.seen.body, dict) and line.seen.body.get("stream"):
        await line.start(200, {"content-type": "text/event-stream"})
        line.writer.write(sse(CHUNKS[:3], done=False))
    else:
        await line.start(200, {"content-type": "application/json", "content-length": "9000"})
        line.writer.write(json.dumps(COMPLETION).encode())
    await line.writer.drain()
    await line.hang()


class StandStill:
    """How long this machine let nothing run: sleeps of a few milliseconds that took longer. A test may be late by as
    much and nobody is to blame."""

    lost = 0.0

    async def measure(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            self.lost += time.monotonic() - began - 0.005


@contextlib.asynccontextmanager
async def running(tmp_path: Path, first: Provider) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient, StandStill]]:
    policies = write_policies(tmp_path / "policies", {"first": first.url}, gateway=SETTINGS)
    still = StandStill()
    async with gateway(tmp_path, policies) as served, httpx.AsyncClient(
        base_url=served.url, headers={"authorization": f"Bearer {KEY}"}, timeout=30
    ) as client:  # fmt: skip
        measuring = asyncio.create_task(still.measure())
        try:
            yield served, client, still
        finally:
            measuring.cancel()


async def nothing_is_held(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(30):
        while True:
            text = (await client.get("/metrics", headers={"authorization": f"Bearer {ADMIN}"})).text
            found = re.findall(r'understudy_in_use\{what="(\w+)"\} (\S+)', text)
            if found and not any(float(count) for _, count in found):
                return
            await asyncio.sleep(0.02)


async def freed(first: Provider, still: StandStill) -> None:
    """From now on the provider is left within a quarter of a second."""
    began, lost = time.monotonic(), still.lost
    async with asyncio.timeout(30):
        await first.seen[-1].peer_left.wait()
    assert time.monotonic() - began - (still.lost - lost) < 0.25


@pytest.mark.parametrize("when", [before_the_first_byte, after_it])
async def test_a_client_that_hangs_up_frees_its_provider_on_every_route(tmp_path: Path, first: Provider, when: Any) -> None:
    async with running(tmp_path, first) as (_, client, still):
        for name, (path, sent) in ROUTES.items():
            first.behave, asked = when, len(first.seen)
            answer = client.build_request("POST", path, **sent)
            call = asyncio.create_task(_first_bytes(client, answer, wait=when is after_it and "streamed" in name))
            async with asyncio.timeout(30):
                while len(first.seen) == asked and not call.done():
                    await asyncio.sleep(0.005)
                assert len(first.seen) > asked, (name, call.result())
                if when is after_it and "streamed" in name:
                    await call
                else:
                    await asyncio.sleep(0.02)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            if call.cancelled() is False and call.exception() is None:
                await call.result().aclose()
            await freed(first, still)
            await nothing_is_held(client)
        first.behave = usual
        assert (await client.post("/v1/chat/completions", json=WHOLE["chat"][1]["json"])).status_code == 200


async def _first_bytes(client: httpx.AsyncClient, request: httpx.Request, *, wait: bool) -> httpx.Response:
    """An open answer; ``wait``: of which something has arrived."""
    answer = await client.send(request, stream=True)
    if wait:
        assert answer.status_code == 200, await answer.aread()
        await anext(answer.aiter_raw())
    else:
        await answer.aread()
    return answer


async def test_a_cancelled_batch_frees_its_provider(tmp_path: Path, first: Provider) -> None:
    first.behave = before_the_first_byte
    async with running(tmp_path, first) as (_, client, still):
        line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "triage", **TURNS}}
        file = {"purpose": (None, "batch"), "file": ("a.jsonl", json.dumps(line).encode() + b"\n")}
        made = (await client.post("/v1/files", files=file)).json()
        order = {"input_file_id": made["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = (await client.post("/v1/batches", json=order)).json()
        async with asyncio.timeout(60):
            while not first.seen:
                await asyncio.sleep(0.01)
        began, lost = time.monotonic(), still.lost
        assert (await client.post(f"/v1/batches/{batch['id']}/cancel")).status_code == 200
        async with asyncio.timeout(30):
            await first.seen[-1].peer_left.wait()
        assert time.monotonic() - began - (still.lost - lost) < 1.0
        await nothing_is_held(client)


async def test_a_client_that_leaves_its_upload_leaves_nothing_behind(tmp_path: Path, first: Provider) -> None:
    async with running(tmp_path, first) as (served, client, _):
        port = int(served.url.rsplit(":", 1)[1])
        head = f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: 900000\r\n"
        begun = '--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x\r\ncontent-disposition: form-data; '
        part = 'name="file"; filename="a.jsonl"\r\n\r\n' + "y" * 100_000
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{head}content-type: multipart/form-data; boundary=x\r\n\r\n{begun}{part}".encode())
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.transport.abort()
        await nothing_is_held(client)
        async with asyncio.timeout(30):
            while [one for one in served.home.files.rglob("*") if one.is_file()]:
                await asyncio.sleep(0.02)
        assert (await client.get("/v1/files")).json()["data"] == []
