"""What OpenAI has and this gateway does not says so, in OpenAI's shape; a WebSocket of the Responses API is refused in
the way after which its clients go on by HTTP."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import openai
import pytest
import websockets
from gateway_server import KEY, Gateway
from scripted import Provider

Ask = Callable[[openai.AsyncOpenAI], Awaitable[Any]]
ASKED: dict[str, tuple[Ask, str]] = {
    "videos": (lambda c: c.videos.create(prompt="a cat"), "Videos are not served"),
    "a video": (lambda c: c.videos.retrieve("video_1"), "Videos are not served"),
    "containers": (lambda c: c.containers.create(name="x"), "code_interpreter"),
    "files of a container": (lambda c: c.containers.files.retrieve("f", container_id="c"), "Containers are not served"),
    "skills": (lambda c: c.skills.retrieve("skill_1"), "Skills"),
    "voices": (lambda c: c.audio.voice_consents.list(), "Name one of the provider's"),
    "secrets": (lambda c: c.realtime.client_secrets.create(), "Connect to GET /v1/realtime"),
    "calls": (lambda c: c.realtime.calls.hangup("call_1"), "WebSocket"),
    "checkpoints": (lambda c: c.fine_tuning.checkpoints.permissions.retrieve("ft:x"), "not shared"),
    "assistants": (lambda c: c.beta.assistants.list(), "POST /v1/responses"),
    "threads": (lambda c: c.beta.threads.create(), "POST /v1/responses"),
    "chatkit": (lambda c: c.beta.chatkit.threads.retrieve("t"), "OpenAI's 'chatkit' is not served"),
    "agents": (lambda c: c.beta.agents.retrieve("a"), "OpenAI's 'agents' is not served"),
}


@pytest.mark.parametrize("what", ASKED)
async def test_what_is_openais_alone_says_so(client: openai.AsyncOpenAI, upstream: Provider, what: str) -> None:
    ask, told = ASKED[what]
    with warnings.catch_warnings(), pytest.raises(openai.NotFoundError, match=told) as refused:
        warnings.simplefilter("ignore", DeprecationWarning)
        await ask(client)
    assert (refused.value.code, refused.value.type) == ("unknown_url", "invalid_request_error")
    assert not upstream.seen


async def test_what_nobody_has_is_a_path_to_check(http: httpx.AsyncClient) -> None:
    for path in ("/v1/videotapes", "/v1/audio/nothing", "/videos/x"):
        answer = await http.get(path)
        assert answer.status_code == 404 and answer.json()["error"]["message"].endswith("Check the path.")


async def test_a_websocket_of_the_responses_api_is_told_to_ask_by_http(served: Gateway, http: httpx.AsyncClient) -> None:
    url = served.base_url.replace("http", "ws", 1) + "/responses"
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(url, additional_headers={"authorization": f"Bearer {KEY}"})
    assert refused.value.response.status_code == 426 and b"Ask by HTTP" in (refused.value.response.body or b"")
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        with pytest.raises(websockets.InvalidStatus) as also:
            async with client.responses.connect():
                pass
    assert also.value.response.status_code == 426
    assert (await http.get("/v1/responses")).status_code == 405, "who offers no WebSocket has the wrong method"
