"""A wrong key is a 401 whatever comes with it, and nothing of a stranger's body is looked at or kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from scripted import Provider

from gateway.access.keys import new_key
from gateway.api.http import read_from
from gateway.config import Server
from gateway.errors import Unauthenticated

SETTINGS = (
    "surface: {embeddings: first, images: first, audio: first, moderations: {provider: first, model: m}}\n"
    "server: {max_body_bytes: 100000}\n"
)
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[1]",
    "no text": b'{"model": "\xff"}',
    "twice the same": b'{"model": "a", "model": "b"}',
    "too deep": b'{"a": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    "no such field": b'{"messages": 7, "input": {}, "contents": 7, "prompt": {}}',
    "steering": b'{"model": "m", "messages": [], "api_base": "http://127.0.0.1:9"}',
    "too large": b'{"model": "' + b"m" * 200_000 + b'"}',
}
WRONG = {
    "none": {},
    "unknown": {"authorization": f"Bearer {new_key('inference').text}"},
    "mistyped": {"authorization": f"Bearer {KEY[:-1]}"},
    "no bearer": {"authorization": "Basic eDp5"},
}


@pytest.fixture
async def served(tmp_path: Path, first: Provider, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setattr("gateway.live._LOOK_S", 0.001)  # a key that may have been made just now is looked up
    policies = write_policies(tmp_path / "policies", {"first": first.url}, gateway=SETTINGS)
    async with gateway(tmp_path, policies) as made:
        yield made


def posts(served: Gateway) -> list[str]:
    """The paths of all routes that take a body for a key, from the application's own table."""
    verbs = ("generateContent", "streamGenerateContent", "embedContent", "countTokens")
    found: list[str] = []
    for route in served.app.routes:
        path = route.path_format
        if "POST" in getattr(route, "methods", ()) and path.startswith("/v1"):
            models = [f"triage:{verb}" for verb in verbs] if "{model}" in path else [""]
            found += [path.replace("{model}", one).replace("{", "").replace("}", "") for one in models]
    assert len(found) > 25
    return sorted(set(found))


async def test_a_wrong_key_is_a_401_whatever_comes_with_it(served: Gateway, first: Provider) -> None:
    wrong, json_head = [], {"content-type": "application/json"}
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        for path in posts(served):
            for what, body in BODIES.items():
                headers = list(WRONG.values())[len(what) % len(WRONG)]
                answer = await client.post(path, content=body, headers=json_head | headers)
                if answer.status_code != 401:
                    wrong.append((path, what, answer.status_code, answer.text[:80]))
        for name, headers in WRONG.items():
            answer = await client.post("/v1/chat/completions", content=b"{", headers=json_head | headers)
            assert answer.status_code == 401, name
        with_form = json_head | WRONG["unknown"] | {"content-type": "multipart/form-data; boundary=x"}
        for path in ("/v1/files", "/v1/audio/transcriptions", "/v1/images/edits"):
            answer = await client.post(path, content=b"--no such boundary", headers=with_form)
            assert answer.status_code == 401, path
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/embeddings"):  # who may, hears of the body
            answer = await client.post(path, content=b"{", headers=json_head | {"authorization": f"Bearer {KEY}"})
            assert answer.status_code == 400, path
    assert not wrong and not first.seen


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings"])
async def test_a_stranger_who_announces_much_is_not_waited_for(
    served: Gateway, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He hears of his key, on a connection that is closed, although his body never comes."""
    monkeypatch.setattr("gateway.api.http._LINGER_S", 0.2)
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: 90000\r\n"
    writer.write(f"{head}authorization: Bearer {new_key('inference').text}\r\n\r\n".encode() + b'{"model": ')
    answer = await asyncio.wait_for(reader.read(), 60)  # to its end: the connection is closed
    writer.close()
    status, _, body = answer.partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 401") and b"connection: close" in status.lower()
    assert json.loads(body)["error"]["code"] == "invalid_api_key"


async def test_a_refused_client_keeps_its_connection_when_its_body_is_here(served: Gateway) -> None:
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        answer = await client.post("/v1/chat/completions", content=b"{}", headers=WRONG["unknown"])
        assert answer.status_code == 401 and answer.headers.get("connection") != "close"


class Changing:
    """A live gateway whose one key is revoked while the body comes."""

    def __init__(self) -> None:
        self._runtime = SimpleNamespace(config=SimpleNamespace(server=Server()))
        self.asked = 0

    def runtime(self) -> Any:
        return self._runtime

    def who(self, headers: Any, runtime: Any) -> str:
        self.asked += 1
        if self.asked > 1:
            raise Unauthenticated("It has been revoked.")
        return "somebody"

    async def body(self, *, limit: int, idle: float) -> bytes:
        assert (limit, idle) == (16 * 1024 * 1024, 30.0)
        return b"{}"

    async def slow_body(self, *, limit: int, idle: float) -> bytes:
        self._runtime = SimpleNamespace(config=self._runtime.config)
        return b"{}"


async def test_a_key_that_is_revoked_while_its_body_comes_is_refused() -> None:
    live = Changing()
    assert await read_from(live, {}, live.body) == ("somebody", b"{}")  # type: ignore[arg-type]
    live.asked = 0
    with pytest.raises(Unauthenticated):
        await read_from(live, {}, live.slow_body)  # type: ignore[arg-type]
