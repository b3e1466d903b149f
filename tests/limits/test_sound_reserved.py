"""What a budget reserves for sound that is priced by the minute, from what the upload says or how large it is."""

from __future__ import annotations

import asyncio
import io
import struct
import wave
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import gateway
from scripted import Line, Provider

from gateway.metering.sounds import HEAD, seconds_at_most

KEY = "a-key-with-a-budget-0001"
POLICIES = """
providers: {{first: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}}}
prices: {{first: {{w: {{input: 0.0, output: 0.0, minute: 0.006}}}}}}
surface: {{audio: first}}
keys: [{{name: poor, key: {key}, budget_usd_month: 0.01}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
"""


def wav(seconds: int) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 1, 8_000, 0, "NONE", ""))
        file.writeframes(b"\x80" * 8_000 * seconds)
    return out.getvalue()


def flac(seconds: int, rate: int = 44_100) -> bytes:
    told = rate << 44 | 15 << 36 | rate * seconds
    return b"fLaC" + b"\0\0\0\x22" + struct.pack(">HH", 4096, 4096) + bytes(6) + told.to_bytes(8, "big") + bytes(16)


@pytest.mark.parametrize(("sound", "seconds"), [
    (wav(90), 90), (flac(3600), 3600), (b"ID3" + bytes(19_997), 10), (b"", 0), (b"RIFF", 0.002),
    (b"RIFF\0\0\0\0WAVEfmt " + bytes(1_984), 1), (flac(0) + bytes(2_000 - len(flac(0))), 1),
])  # fmt: skip
def test_how_long_a_sound_may_last(sound: bytes, seconds: float) -> None:
    assert seconds_at_most(sound[:HEAD], len(sound)) == pytest.approx(seconds, rel=0.01)


async def test_what_is_heard_meanwhile_is_reserved_and_the_rest_given_back(tmp_path: Path, upstream: Provider) -> None:
    heard, release, told = asyncio.Event(), asyncio.Event(), 30.0

    async def behave(line: Line) -> None:
        heard.set()
        await release.wait()
        await line.answer(body={"text": "heard", "usage": {"type": "duration", "seconds": told}})

    upstream.behave = behave
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "gateway.yaml").write_text(POLICIES.format(url=upstream.url, key=KEY))
    async with (
        gateway(tmp_path, tmp_path / "policies") as served,
        httpx.AsyncClient(base_url=served.base_url, headers={"authorization": f"Bearer {KEY}"}, timeout=30) as http,
    ):

        async def ask(sound: bytes) -> httpx.Response:
            files: Any = {"file": ("say.wav", sound, "audio/wav")}
            return await http.post("/audio/transcriptions", data={"model": "first/w"}, files=files)

        first = asyncio.create_task(ask(wav(90)))  # 0.9 of a cent
        await asyncio.wait_for(heard.wait(), 30)
        second = await ask(wav(20))
        assert second.status_code == 429 and second.json()["error"]["code"] == "insufficient_quota"
        release.set()
        assert (await first).status_code == 200
        assert (await ask(wav(60))).status_code == 200, "it took 30 seconds after all"
        assert (await ask(wav(60))).status_code == 429
        assert len(upstream.seen) == 2
