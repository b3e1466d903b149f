"""A person is erased while the gateway runs: memory, caches, spool and database forget; a restart changes nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from scripted import Provider, provider

from gateway.storage.reading.reader import open_reader

sys.path.append(str(Path(__file__).resolve().parents[1] / "storage"))
from storage_samples import environment, start_ingester

SECRET = "the badge of anna is under the mat"
CACHED = "cache: {enabled: true}\n"


@asynccontextmanager
async def house(tmp: Path, upstream: Provider) -> AsyncIterator[tuple[Gateway, openai.AsyncOpenAI]]:
    """A gateway and its ingester; leaving it and entering again is a restart."""
    folder = write_policies(tmp / "policies", {"big": upstream.url}, gateway=CACHED)
    async with gateway(tmp, folder) as made:
        ingester = start_ingester(made.home)
        try:
            async with openai.AsyncOpenAI(base_url=made.base_url, api_key=KEY, max_retries=0) as client:
                yield made, client
        finally:
            ingester.terminate()
            ingester.wait(60)


async def eventually(look: Callable[[], Awaitable[bool]], seconds: float = 120) -> None:
    for _ in range(int(seconds / 0.05)):
        if await look():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to pass")


async def asked(client: openai.AsyncOpenAI, text: str, user: str, key: str = "") -> str:
    headers = {"Idempotency-Key": key} if key else None
    answer = await client.chat.completions.create(
        model="triage", temperature=0, messages=[{"role": "user", "content": text}], user=user, extra_headers=headers
    )
    return answer.id


async def erase_over_the_page(served: Gateway, user: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=served.url) as http:
        login = (await http.post("/admin/login", json={"key": ADMIN})).json()
        body = {"project": "default", "end_user": user, "reason": "she asked"}
        answer = await http.post("/admin/api/erasures", json=body, headers={"x-csrf-token": login["csrf"]})
        assert answer.status_code == 200, answer.text
        listed = (await http.get("/admin/api/erasures")).json()["erasures"]
        assert listed[0] == answer.json()
        assert user not in str(listed)
        return answer.json()


async def erase_at_the_terminal(served: Gateway, user: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "gateway.cli", "erase", "--home", str(served.home.root), "--user", user]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment(), capture_output=True, text=True, check=True
    )
    assert "captured calls" in done.stdout
    return {}


@pytest.mark.parametrize("way", [erase_over_the_page, erase_at_the_terminal])
async def test_a_person_is_forgotten_by_every_part(tmp_path: Path, way) -> None:
    async with provider() as upstream:
        async with house(tmp_path, upstream) as (served, client):
            hers = await asked(client, SECRET, "anna")
            his = await asked(client, "bob has lost his key", "bob")
            response = await client.responses.create(model="triage", input=SECRET, user="anna")
            before = len(upstream.seen)
            await asked(client, SECRET, "carla")
            assert len(upstream.seen) == before, "the same question is answered from the cache"

            told_her = await asked(client, SECRET, "anna", "k")
            assert await asked(client, SECRET, "anna", "k") == told_her

            reader = open_reader(served.home)
            await eventually(lambda: asyncio.to_thread(lambda: reader.completion("default", hers) is not None))
            told = await way(served, "anna")
            assert not told or told["texts"] >= 1

            async def forgotten() -> bool:
                try:
                    await client.chat.completions.retrieve(hers)
                except openai.NotFoundError:
                    return True
                return False

            await eventually(forgotten)
            with pytest.raises(openai.NotFoundError):
                await client.responses.retrieve(response.id)
            assert (await client.chat.completions.retrieve(his)).id == his
            assert hers not in [one.id async for one in client.chat.completions.list()]
            await asked(client, SECRET, "dora")
            assert len(upstream.seen) == before + 1, "no cache answers with what was erased"
            assert await asked(client, SECRET, "anna", "k") != told_her
            first = min(path.name for path in served.home.spool.glob("*.seg"))
            await asked(client, "something else", "bob")

            async def only_young_segments() -> bool:
                segments = [path.name for path in served.home.spool.glob("*.seg")]
                return len(segments) == 1 and min(segments) >= first

            await eventually(only_young_segments)
            reader.close()
        async with house(tmp_path, upstream) as (_, client):
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.retrieve(hers)
            with pytest.raises(openai.NotFoundError):
                await client.responses.retrieve(response.id)
            assert (await client.chat.completions.retrieve(his)).id == his
