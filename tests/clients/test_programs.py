"""Unmodified clients in processes of their own: two versions of openai for Python, openai and Vercel's ai for Node.

Each program goes through the daily features and tells what it saw; all of them must have seen the same. The Node
clients stand in ``tests/clients/node`` after ``npm ci``; the older Python client in the folder that
``UNDERSTUDY_OLD_OPENAI`` names. What is not there is skipped.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import pytest
from clients_helpers import ARGS, CALLS, HERE, absent, chunked, completion, node
from gateway_server import KEY, Gateway
from scripted import Line, Provider

OLD = os.environ.get("UNDERSTUDY_OLD_OPENAI", "")
CITY = '{"name": "Bonn", "people": 336465}'
BUSY = {"error": {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
COMMON: dict[str, Any] = {
    "calls": [["weather", args] for args in ARGS],
    "object": {"name": "Bonn", "people": 336465},
    "embedding": [0.25, -1.0],
    "image": "hello",
    "error": [429, "rate_limit_exceeded", "60"],
    "lost": [404, "model_not_found"],
    "stream": ["hello", [30, 12, 10]],
    "chat": ["hello", "stop", [30, 12, 10]],
}
STORE = ["completed", [["refunds.txt", "Refunds take a week."]], ["completed"], True]
RESPONSES = {"response": ["hello", "completed"], "response_stream": ["hello", "hello"], "store": STORE}


def _said(body: Any) -> str:
    content = body["messages"][-1]["content"]
    return str(content if isinstance(content, str) else content[0]["text"])


async def answer(line: Line) -> None:
    """What a provider would say to each of the programs' questions."""
    body = line.seen.body
    if line.seen.path.endswith("/embeddings"):
        vector = {"object": "embedding", "index": 0, "embedding": [0.25, -1.0]}
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        await line.answer(200, {"object": "list", "data": [vector], "model": "e", "usage": usage})
        return
    said = _said(body)
    if said == "busy":
        await line.answer(429, BUSY, {"retry-after": "60"})
    elif said == "calls":
        await line.stream(CALLS["openai"][1], piece=37)
    elif body.get("stream"):
        await line.stream(chunked({"content": "hel"}, {"content": "lo"}))
    else:
        await line.answer(200, completion({"content": CITY if said == "object" else "hello"}))


async def run(command: list[str], served: Gateway, *more: str, env: dict[str, str] | None = None) -> Any:
    """What a client program tells."""
    running = await asyncio.create_subprocess_exec(
        *command, served.base_url, KEY, *more, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})}, cwd=HERE / "node",
    )  # fmt: skip
    out, problems = await asyncio.wait_for(running.communicate(), 60)
    assert running.returncode == 0, problems.decode()
    return json.loads(out)


@pytest.mark.parametrize("version", ["newest", "3.3.1"])
async def test_openai_for_python(served: Gateway, upstream: Provider, version: str) -> None:
    if version != "newest" and not OLD:
        absent("UNDERSTUDY_OLD_OPENAI names no folder with openai 3.3.1")
    upstream.behave = answer
    env = {"PYTHONPATH": OLD} if version != "newest" else {}
    told = await run([sys.executable, str(HERE / "programs" / "openai_python.py")], served, env=env)
    found = told.pop("version")
    assert found == version or (version == "newest" and found != "3.3.1")
    assert told == COMMON | RESPONSES
    assert_sent(upstream)


@pytest.mark.parametrize("program", ["openai", "ai openai", "ai openai-chat", "ai compatible"])
async def test_clients_for_node(served: Gateway, upstream: Provider, program: str) -> None:
    upstream.behave = answer
    name, _, kind = program.partition(" ")
    told = await run([node(), f"{name}.mjs"], served, *([kind] if kind else []))
    expected = COMMON if kind else COMMON | RESPONSES
    if kind == "openai":  # asks the Responses API, where OpenAI says 400 to a model that is not there
        expected = expected | {"lost": [400, "model_not_found"]}
    assert told == expected
    assert_sent(upstream)


def assert_sent(upstream: Provider) -> None:
    """The provider was asked for what the client asked for."""
    bodies = [seen.body for seen in upstream.seen if "messages" in seen.body]
    formats = [body["response_format"] for body in bodies if _said(body) == "object"]
    assert formats and formats[0]["type"] == "json_schema"
    assert set(formats[0]["json_schema"]["schema"]["properties"]) == {"name", "people"}
    assert "iVBORw0KGgo=" in json.dumps(bodies)
    tools = [body["tools"][0]["function"]["name"] for body in bodies if _said(body) == "calls"]
    assert tools == ["weather"]
