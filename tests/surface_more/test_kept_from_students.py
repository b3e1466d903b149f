"""A value of ``x-understudy-force`` that means nothing is refused, in every API and in that API's shape: whoever misspelt
it would be answered by the student that the header is there to keep away."""

from __future__ import annotations

import json

import anthropic
import httpx
import openai
import pytest
from gateway_server import KEY, Gateway
from scripted import Provider
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

SAID = [{"role": "user", "content": "hi"}]
BODIES = {
    "/v1/chat/completions": {"model": "triage", "messages": SAID},
    "/v1/completions": {"model": "triage", "prompt": "hi"},
    "/v1/responses": {"model": "triage", "input": "hi"},
    "/v1/messages": {"model": "triage", "max_tokens": 9, "messages": SAID},
    "/v1beta/models/triage:generateContent": {"contents": [{"parts": [{"text": "hi"}]}]},
    "/v1/embeddings": {"model": "first/m", "input": "hi"},
    "/v1/moderations": {"input": "hi"},
    "/v1/images/generations": {"model": "first/m", "prompt": "hi"},
    "/v1/audio/speech": {"model": "first/m", "input": "hi", "voice": "alloy"},
}
FORCE = "x-understudy-force"


@pytest.mark.parametrize("path", BODIES)
async def test_a_value_that_nobody_knows_is_refused(served: Gateway, upstream: Provider, path: str) -> None:
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as http:
        for value in ("teachers", "Teacher", "teacher, teacher", ""):
            headers = {"authorization": f"Bearer {KEY}", FORCE: value}
            answer = await http.post(path, json=BODIES[path], headers=headers)
            assert answer.status_code == 400 and not upstream.seen
            told = answer.json()["error"]
            assert f"the one value 'teacher', which keeps students away from this request; it says {value!a}" in told["message"]
            assert told.get("param", FORCE) == FORCE and told.get("code") in ("invalid_value", 400, None)


async def test_a_form_and_a_session_are_held_to_it(served: Gateway) -> None:
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as http:
        answer = await http.post(
            "/v1/audio/transcriptions", headers={"authorization": f"Bearer {KEY}", FORCE: "nobody"},
            data={"model": "first/m"}, files={"file": ("a.wav", b"RIFF")},
        )  # fmt: skip
    assert answer.status_code == 400 and answer.json()["error"]["param"] == FORCE
    with pytest.raises(InvalidStatus) as refused:
        await connect(
            f"ws{served.url.removeprefix('http')}/v1/realtime?model=first/m",
            additional_headers={"authorization": f"Bearer {KEY}", FORCE: "nobody"},
        )
    assert refused.value.response.status_code == 400
    assert json.loads(refused.value.response.body)["error"]["param"] == FORCE


async def test_the_official_clients_are_told_and_the_one_value_passes(served: Gateway, client: openai.AsyncOpenAI) -> None:
    for streamed in (False, True):
        with pytest.raises(openai.BadRequestError, match="leave the header out"):
            await client.chat.completions.create(
                model="triage", messages=SAID, stream=streamed, extra_headers={FORCE: "teachr"}  # type: ignore[arg-type]
            )
    async with anthropic.AsyncAnthropic(base_url=served.url, api_key=KEY, max_retries=0) as claude:
        with pytest.raises(anthropic.BadRequestError, match="has the one value 'teacher'"):
            await claude.messages.create(
                model="triage", max_tokens=9, messages=SAID, extra_headers={FORCE: "teachr"}  # type: ignore[arg-type]
            )
    answer = await client.chat.completions.create(
        model="triage", messages=SAID, extra_headers={FORCE: "teacher"}  # type: ignore[arg-type]
    )
    assert answer.choices[0].message.content


async def test_a_stranger_learns_nothing_of_it(served: Gateway) -> None:
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as http:
        answer = await http.post(
            "/v1/chat/completions", json=BODIES["/v1/chat/completions"],
            headers={"authorization": "Bearer nobodys-key-0001", FORCE: "nobody"},
        )  # fmt: skip
    assert answer.status_code == 401
