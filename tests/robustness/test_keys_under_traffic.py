"""A client's key is replaced and withdrawn while calls are under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from gateway_server import Gateway, gateway, write_policies
from scripted import CHUNKS, Line, provider, sse, usual

from gateway.access.keys import new_key
from gateway.cli import main
from gateway.live import Live
from gateway.storage.records import CallRecord
from gateway.storage.values import Snapshot


class Desk:
    def __init__(self, served: Gateway, http: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]) -> None:
        self.served, self.http, self._capsys = served, http, capsys

    async def run(self, *command: str) -> str:
        """The first line that the command says."""
        self._capsys.readouterr()
        assert await asyncio.to_thread(main, ["keys", *command]) == 0
        return self._capsys.readouterr().out.splitlines()[0]

    async def ask(self, key: str) -> tuple[int, str]:
        answer = await self.http.post("/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {key}"})
        return answer.status_code, "" if answer.status_code == 200 else answer.json()["error"]["message"]

    async def until(self, key: str, status: int) -> str:
        async with asyncio.timeout(30):
            while (told := await self.ask(key))[0] != status:
                await asyncio.sleep(0.02)
        return told[1]


BODY = {"model": "first/m", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
async def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    async with provider() as upstream:
        upstream.behave = usual
        folder = write_policies(tmp_path / "policies", {"first": upstream.url})
        async with gateway(tmp_path, folder) as served, httpx.AsyncClient(base_url=served.url, timeout=60) as http:
            monkeypatch.setenv("UNDERSTUDY_HOME", str(served.home.root))
            made = Desk(served, http, capsys)
            made.upstream = upstream  # type: ignore[attr-defined]
            yield made


async def test_both_texts_open_until_the_grace_is_over_and_a_stream_goes_on(desk: Desk) -> None:
    go_on = asyncio.Event()

    async def slow(line: Line) -> None:
        if not line.seen.body.get("stream"):
            await usual(line)
            return
        await line.start(200, {"content-type": "text/event-stream"})
        line.writer.write(sse(CHUNKS[:2], done=False))
        await line.writer.drain()
        await go_on.wait()
        line.writer.write(sse(CHUNKS[2:]))
        await line.writer.drain()
        line.writer.close()

    desk.upstream.behave = slow  # type: ignore[attr-defined]
    old = await desk.run("create", "--name", "app")
    assert await desk.ask(old) == (200, ""), "a key opens as soon as it was told"
    headers = {"authorization": f"Bearer {old}"}
    async with desk.http.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}, headers=headers) as stream:
        lines = stream.aiter_lines()
        assert stream.status_code == 200 and (await anext(lines)).startswith("data: ")
        new = await desk.run("rotate", "app", "--grace", "0.0003")
        assert await desk.ask(new) == (200, "")
        assert "replaced" in await desk.until(old, 401)
        assert (await desk.ask(new))[0] == 200
        go_on.set()
        assert [one async for one in lines if one][-1] == "data: [DONE]", "a call that was let in is answered"
    await desk.run("revoke", "app")
    assert "revoked" in await desk.until(new, 401)
    assert (await desk.ask(old))[0] == 401
    calls = [one for one in desk.served.records() if isinstance(one, CallRecord)]
    assert len({one.key_id for one in calls if one.key_id}) == 1, "one key, whatever its text"


async def test_keys_that_nobody_made_are_looked_up_together_and_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[float] = []
    refresh = Live.refresh

    def counted(live: Live) -> Snapshot | None:
        looked.append(time.monotonic())
        return refresh(live)

    monkeypatch.setattr(Live, "refresh", counted)
    began = time.monotonic()
    keys = [new_key("inference").text for _ in range(40)]
    found = await asyncio.gather(*(desk.ask(key) for key in keys))
    assert {status for status, _ in found} == {401} and all("understudy keys create" in said for _, said in found)
    assert 1 <= len(looked) <= 4 + 25 * (time.monotonic() - began), "and no faster, however many ask"
