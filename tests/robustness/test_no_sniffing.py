"""No answer is taken for another type than it says (``x-content-type-options: nosniff``), whichever way it was made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from scripted import Provider
from test_every_door import SETTINGS, knock, table
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

NAME, ASK = "x-content-type-options", {"model": "triage", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def doors(tmp_path: Path, first: Provider) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    policies = write_policies(tmp_path / "policies", {"first": first.url}, gateway=SETTINGS)
    head = {"authorization": f"Bearer {KEY}"}
    async with gateway(tmp_path, policies) as served, httpx.AsyncClient(base_url=served.url, headers=head, timeout=60) as client:
        yield served, client


def said(answer: httpx.Response) -> list[str]:
    return answer.headers.get_list(NAME)


async def test_every_route_says_it_once(doors: tuple[Gateway, httpx.AsyncClient]) -> None:
    served, client = doors
    wrong = []
    for method, path in [*table(served), ("GET", "/v1/nothing"), ("PUT", "/v1/files"), ("OPTIONS", "/v1/models"), ("HEAD", "/healthz")]:
        for headers in ({}, {"authorization": ""}):
            answer = await knock(client, method, path, headers)
            wrong += [] if said(answer) == ["nosniff"] else [(method, path, answer.status_code, said(answer))]
    assert not wrong


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions"])
async def test_answers_and_streams_say_it(doors: tuple[Gateway, httpx.AsyncClient], path: str, stream: bool) -> None:
    _, client = doors
    body: dict[str, Any] = {**ASK, "input": "hi", "prompt": "hi", "max_tokens": 9, "stream": stream}
    known = {"/v1/responses": ("model", "input", "stream"), "/v1/completions": ("model", "prompt", "stream")}
    wanted = known.get(path, ("model", "messages", "max_tokens", "stream"))
    for _ in range(3):  # the second and third on a connection whose head is known
        answer = await client.post(path, json={name: body[name] for name in wanted})
        assert answer.status_code == 200 and said(answer) == ["nosniff"]


async def test_what_no_application_answers_says_it(doors: tuple[Gateway, httpx.AsyncClient]) -> None:
    served, _ = doors
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert head.startswith(b"HTTP/1.1 400") and f"{NAME}: nosniff".encode() in head
    writer.close()
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws{served.url.removeprefix('http')}/v1/realtime")
    assert refused.value.response.headers[NAME] == "nosniff"
