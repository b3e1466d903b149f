"""What only the operator may know of an error is in the log, under the request's id, and never in an answer."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from rough import BODY, Start, events
from scripted import Line, Provider, chunk, sse

from gateway.errors import GatewayError, note_detail
from gateway.telemetry.logs import setup_logging

INSIDE = "backend shard-17 at 10.9.8.7 ran out of memory"
SECRET = "sk-proj-abcdefghijklmnopqrstuvwx"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    setup_logging(stream=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def told(log: io.StringIO, request_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if request_id in line["message"]]


async def broken(line: Line) -> None:
    said = {
        "error": {"message": f"{INSIDE}; key {SECRET}", "type": "server_error", "param": None, "code": None}
    }
    await line.answer(500, said)


@pytest.mark.parametrize(
    "path, body",
    [
        ("/v1/chat/completions", BODY),
        ("/v1/chat/completions", {**BODY, "stream": True}),
        ("/v1/responses", {"model": "triage", "input": "hi"}),
        ("/v1/messages", {**BODY, "max_tokens": 5}),
        ("/v1/embeddings", {"model": "first/m", "input": "hi"}),
    ],
)
async def test_what_a_failing_provider_said_is_logged_and_not_told(
    start: Start, first: Provider, log: io.StringIO, path: str, body: dict[str, Any]
) -> None:
    first.behave = broken
    async with start({"first": first.url}) as (_, client):
        answer = await client.post(path, json=body)
    assert answer.status_code == 502
    assert "shard-17" not in answer.text and "10.9.8.7" not in answer.text and SECRET not in answer.text
    (line,) = told(log, answer.headers["x-request-id"])
    assert line["level"] == "warning" and INSIDE in line["message"] and "502" in line["message"]
    assert SECRET not in log.getvalue() and SECRET[8:] not in log.getvalue()


async def test_why_nobody_was_reached_is_logged_and_not_told(start: Start, log: io.StringIO) -> None:
    async with start({"first": "http://127.0.0.1:9"}) as (_, client):
        answer = await client.post("/v1/chat/completions", json=BODY)
    assert answer.status_code == 502 and answer.json()["error"]["code"] == "provider_unreachable"
    (line,) = told(log, answer.headers["x-request-id"])
    assert "provider 'first': ConnectionRefusedError" in line["message"] and "Refused" not in answer.text


async def test_a_stream_that_breaks_says_why_in_the_log(
    start: Start, first: Provider, log: io.StringIO
) -> None:
    raw = sse([chunk({"content": "x" * 300}) for _ in range(6)])

    async def cut(line: Line) -> None:
        await line.stream(raw[: len(raw) // 2], cut=True, piece=100, pause=0.002)

    first.behave = cut
    async with start({"first": first.url}) as (_, client):
        answer = await client.post("/v1/chat/completions", json={**BODY, "stream": True})
    assert events(answer.text)[-1]["error"]["type"] == "server_error" and "Http1Error" not in answer.text
    (line,) = told(log, answer.headers["x-request-id"])
    assert "Http1Error" in line["message"]


def test_a_line_is_short_and_only_where_there_is_something_to_say(log: io.StringIO) -> None:
    note_detail(GatewayError("told"), "req_1")
    assert log.getvalue() == ""
    note_detail(GatewayError("told", detail="a\nb" + "x" * 10_000), "req_2")
    (line,) = told(log, "req_2")
    assert len(line["message"]) < 700 and "\n" not in line["message"] and "told" not in line["message"]
