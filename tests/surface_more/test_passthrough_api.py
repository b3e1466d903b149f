"""Images and audio: forms, JSON, binary and streamed answers on their way through."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway
from scripted import Line, Provider

from gateway.storage.records import CallRecord

SOUND = os.urandom(300_000)


def calls(served: Gateway) -> list[CallRecord]:
    return [record for record in served.records() if isinstance(record, CallRecord)]


async def test_speech_is_bytes(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    upstream.behave = lambda line: line.answer(body=SOUND, headers={"content-type": "audio/mpeg"})
    answer = await client.audio.speech.create(model="first/tts", voice="alloy", input="hello")
    assert answer.content == SOUND and answer.response.headers["content-type"] == "audio/mpeg"
    assert upstream.seen[0].path == "/v1/audio/speech"
    assert upstream.seen[0].body == {"model": "tts", "voice": "alloy", "input": "hello"}
    (call,) = calls(served)
    assert (call.endpoint, call.status, call.cost_usd) == ("audio", "ok", None)


async def test_a_form_goes_on_as_it_is(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59}
    upstream.behave = lambda line: line.answer(body={"text": "heard", "usage": usage})
    answer = await client.audio.transcriptions.create(
        model="first/m", file=("say.wav", SOUND, "audio/wav"), prompt="names", timestamp_granularities=["word", "segment"]
    )
    assert answer.text == "heard"
    seen = upstream.seen[0]
    assert seen.path == "/v1/audio/transcriptions" and len(seen.body) == int(seen.headers["content-length"])
    assert SOUND in seen.body and b'filename="say.wav"' in seen.body
    form = httpx.Response(200, content=seen.body)  # nothing of the frame is left open
    assert form.content.endswith(b"--\r\n")
    fields = seen.body.split(b"--" + seen.headers["content-type"].partition("boundary=")[2].encode())
    texts = [part.partition(b"\r\n\r\n")[2].strip() for part in fields if b"filename" not in part]
    assert [one for one in texts if one and one != b"--"] == [b"first/m".replace(b"first/", b""), b"names", b"word", b"segment"]
    (call,) = calls(served)
    assert (call.prompt_tokens, call.completion_tokens) == (14, 45)
    assert call.cost_usd == pytest.approx((14 * 2.5 + 45 * 10) / 1e6)
    assert list(served.home.files.iterdir()) == []


async def test_sound_in_seconds_costs_what_a_minute_does(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    upstream.behave = lambda line: line.answer(body={"text": "heard", "usage": {"type": "duration", "seconds": 90}})
    await client.audio.transcriptions.create(model="first/whisper-1", file=("say.wav", SOUND, "audio/wav"))
    (call,) = calls(served)
    assert call.cost_usd == pytest.approx(0.009)


async def test_images_stream(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    events = b"".join(
        b'event: image_generation.%s\ndata: {"type": "image_generation.%s", "b64_json": "eA=="}\n\n' % (name, name)
        for name in (b"partial_image", b"completed")
    )
    upstream.behave = lambda line: line.stream(events, piece=17)
    stream = await client.images.generate(model="gpt-image-1", prompt="a cat", stream=True)
    assert [event.type async for event in stream] == ["image_generation.partial_image", "image_generation.completed"]
    assert upstream.seen[0].body["model"] == "gpt-image-1"
    assert [call.status for call in calls(served)] == ["ok"]


async def test_an_image_edit_with_two_files(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = lambda line: line.answer(body={"created": 1, "data": [{"b64_json": "eA=="}]})
    answer = await client.images.edit(model="first/m", image=[b"one", b"two"], prompt="merge")
    assert answer.data and answer.data[0].b64_json == "eA=="
    assert upstream.seen[0].body.count(b"filename=") == 2


async def test_a_cut_answer_is_seen_as_cut(served: Gateway, upstream: Provider) -> None:
    async def cut(line: Line) -> None:
        await line.start(200, {"content-type": "audio/mpeg", "content-length": "1000"})
        line.writer.write(b"half")
        await line.writer.drain()
        await asyncio.sleep(0.05)
        line.writer.transport.abort()

    upstream.behave = cut
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            body = {"model": "first/tts", "voice": "a", "input": "b"}
            await http.post(f"{served.base_url}/audio/speech", json=body)
    assert [call.status for call in calls(served)] == ["upstream_cut"]


async def test_errors_keep_their_shape(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    error: Any = {"message": "no such voice", "type": "invalid_request_error", "param": "voice", "code": None}
    upstream.behave = lambda line: line.answer(400, {"error": error})
    with pytest.raises(openai.BadRequestError) as told:
        await client.audio.speech.create(model="first/tts", voice="nobody", input="x")
    assert told.value.param == "voice"
    with pytest.raises(openai.BadRequestError) as missing:
        await client.images.generate(prompt="no model")
    assert missing.value.param == "model"
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{served.base_url}/audio/speech", json={"model": "first/tts"})
    assert answer.status_code == 401


@pytest.mark.parametrize(("path", "key"), [("audio/transcriptions", "sk-wrong"), ("files", "sk-wrong"), ("files", KEY)])
async def test_a_refusal_is_read_by_a_client_that_still_sends(served: Gateway, path: str, key: str) -> None:
    """Closing while bytes arrive would reset the connection; the whole upload is far larger than any buffer."""
    first = b'--x\r\ncontent-disposition: form-data; name="%s"; filename="a"\r\n\r\n'
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rsplit(":", 1)[1]))
    head = f"POST /v1/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    head += "content-type: multipart/form-data; boundary=x\r\ncontent-length: 2500000\r\n\r\n"
    begin = first % b"wrong"
    writer.write(head.encode() + begin)
    for at in range(0, 2_500_000 - len(begin), 100_000):
        writer.write(b"a" * min(100_000, 2_500_000 - len(begin) - at))
        await writer.drain()
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400" if key == KEY else b"HTTP/1.1 401")
    assert not served.home.files.exists() or list(served.home.files.iterdir()) == []
