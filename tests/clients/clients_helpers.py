"""A gateway over every provider dialect, and one conversation as each of them would answer it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway_server import KEY, TRUSTED
from google import genai
from google.genai import types
from scripted import Behaviour, Line, chunk, sse

HERE = Path(__file__).parent
POLICIES = """
providers:
  openai: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret, traits: {traits}}}
  anthropic: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
  gemini: {{type: gemini, base_url: "{url}", api_key: sk-upstream-secret}}
  cohere: {{type: cohere, base_url: "{url}", api_key: sk-upstream-secret}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
retries: {{attempts: 1, base_s: 0.01, cap_s: 0.05}}
"""
MODELS = {
    "openai": "openai/gpt-4o",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini/gemini-2.5-flash",
    "cohere": "cohere/command-a",
}
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000"
    "0400010a2a5a0a0000000049454e44ae426082"
)
ARGS = ({"city": "Bonn"}, {"city": "Köln"})
"""What the two parallel calls of the scripted answers ask."""


def absent(what: str) -> None:
    """Skips, visibly; fails where nothing may be skipped."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI may skip nothing")
    pytest.skip(what)


def node() -> str:
    """Node's path; skips where it or its packages are not there."""
    found = shutil.which("node") or ""
    if not found or not (HERE / "node" / "node_modules").is_dir():
        absent("needs node, and `npm ci` in tests/clients/node")
    return found


def policies_over(folder: Path, url: str, more: str = "") -> Path:
    folder.mkdir()
    (folder / "gateway.yaml").write_text(POLICIES.format(url=url, key=KEY, traits=TRUSTED) + more)
    (folder / "routing.yaml").write_text(
        "tasks:\n  - {name: triage, candidates: [{provider: openai, model: gpt-4o}]}\n"
    )
    return folder


@asynccontextmanager
async def google_client(url: str, key: str = KEY) -> AsyncIterator[genai.Client]:
    made = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url))
    try:
        yield made
    finally:
        await made.aio.aclose()
        made.close()


# ---------------------------------------------------------------- as OpenAI says it
USAGE = {
    "prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 10}, "completion_tokens_details": {"reasoning_tokens": 4},
}  # fmt: skip


def completion(message: dict[str, Any], finish: str = "stop", **choice: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": None, "refusal": None, **message}
    return {
        "id": "up", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE,
        "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": finish, **choice}],
    }  # fmt: skip


def call(at: int) -> dict[str, Any]:
    arguments = json.dumps(ARGS[at], ensure_ascii=False)
    return {
        "id": f"call_{at}",
        "type": "function",
        "function": {"name": "weather", "arguments": arguments},
    }


def answers(*bodies: Any, status: int = 200, headers: dict[str, str] | None = None) -> Behaviour:
    """Whole answers, one after the other; the last one stays."""
    left = list(bodies)

    async def behave(line: Line) -> None:
        await line.answer(status, left.pop(0) if len(left) > 1 else left[0], headers)

    return behave


def streams(raw: bytes, *, piece: int = 0, cut: bool = False) -> Behaviour:
    async def behave(line: Line) -> None:
        await line.stream(raw, piece=piece, cut=cut)

    return behave


def chunked(*deltas: dict[str, Any], finish: str = "stop", done: bool = True) -> bytes:
    """A stream as OpenAI writes it; without ``done`` it stops in the middle."""
    chunks = [chunk({"role": "assistant", "content": "", "refusal": None}), *map(chunk, deltas)]
    if done:
        chunks += [chunk({}, finish), {**chunk({}), "choices": [], "usage": USAGE}]
    return sse(chunks, done=done)


def _deltas() -> list[dict[str, Any]]:
    """Two parallel calls, their deltas interleaved."""

    def more(index: int, arguments: str, **first: Any) -> dict[str, Any]:
        function = {"arguments": arguments, **({"name": "weather"} if first else {})}
        return {"tool_calls": [{"index": index, **first, "function": function}]}

    opened = [more(at, "", id=f"call_{at}", type="function") for at in (0, 1)]
    return [*opened, more(0, '{"city":'), more(1, '{"city": "Kö'), more(0, ' "Bonn"}'), more(1, 'ln"}')]


# ---------------------------------------------------------------- as each dialect says the two calls
def _event(name: str, **more: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **more})}\n\n".encode()


def _anthropic_stream() -> bytes:
    usage = {"input_tokens": 20, "cache_read_input_tokens": 10, "output_tokens": 1}
    message = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "usage": usage,
    }
    raw = _event("message_start", message=message)
    for at, args in enumerate(ARGS):
        block = {"type": "tool_use", "id": f"call_{at}", "name": "weather", "input": {}}
        raw += _event("content_block_start", index=at, content_block=block)
        text = json.dumps(args)
        for part in (text[:7], text[7:]):
            delta = {"type": "input_json_delta", "partial_json": part}
            raw += _event("content_block_delta", index=at, delta=delta)
        raw += _event("content_block_stop", index=at)
    end = {"stop_reason": "tool_use", "stop_sequence": None}
    return raw + _event("message_delta", delta=end, usage={"output_tokens": 12}) + _event("message_stop")


def _anthropic_whole() -> dict[str, Any]:
    blocks = [
        {"type": "tool_use", "id": f"call_{at}", "name": "weather", "input": args}
        for at, args in enumerate(ARGS)
    ]
    usage = {"input_tokens": 20, "cache_read_input_tokens": 10, "output_tokens": 12}
    return {
        "id": "m", "type": "message", "role": "assistant", "model": "claude", "content": blocks,
        "stop_reason": "tool_use", "stop_sequence": None, "usage": usage,
    }  # fmt: skip


def _gemini_answer(parts: list[dict[str, Any]], finish: str | None = "STOP") -> dict[str, Any]:
    counts = {
        "promptTokenCount": 30,
        "candidatesTokenCount": 8,
        "thoughtsTokenCount": 4,
        "totalTokenCount": 42,
    }
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    usage = {**counts, "cachedContentTokenCount": 10}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "g", "responseId": "r"}


def _gemini_calls() -> list[dict[str, Any]]:
    calls = [
        {"functionCall": {"id": f"call_{at}", "name": "weather", "args": args}}
        for at, args in enumerate(ARGS)
    ]
    return [{**calls[0], "thoughtSignature": "c2ln"}, calls[1]]


def _gemini_stream() -> bytes:
    first, second = _gemini_calls()
    return b"".join(
        b"data: " + json.dumps(one).encode() + b"\r\n\r\n"
        for one in (_gemini_answer([first], None), _gemini_answer([second]))
    )


def _cohere_whole() -> dict[str, Any]:
    usage = {"tokens": {"input_tokens": 30, "output_tokens": 12}}
    message = {"role": "assistant", "tool_plan": "", "tool_calls": [call(0), call(1)]}
    return {"id": "c", "finish_reason": "TOOL_CALL", "message": message, "usage": usage}


def _cohere_stream() -> bytes:
    raw = _event("message-start", id="c", delta={"message": {"role": "assistant"}})
    for at in (0, 1):
        made = call(at)
        opened = {**made, "function": {"name": "weather", "arguments": ""}}
        raw += _event("tool-call-start", index=at, delta={"message": {"tool_calls": opened}})
        for part in (made["function"]["arguments"][:7], made["function"]["arguments"][7:]):
            delta = {"message": {"tool_calls": {"function": {"arguments": part}}}}
            raw += _event("tool-call-delta", index=at, delta=delta)
        raw += _event("tool-call-end", index=at)
    usage = {"tokens": {"input_tokens": 30, "output_tokens": 12}}
    return raw + _event("message-end", delta={"finish_reason": "TOOL_CALL", "usage": usage})


CALLS: dict[str, tuple[dict[str, Any], bytes]] = {
    "openai": (
        completion({"tool_calls": [call(0), call(1)]}, "tool_calls"),
        chunked(*_deltas(), finish="tool_calls"),
    ),
    "anthropic": (_anthropic_whole(), _anthropic_stream()),
    "gemini": (_gemini_answer(_gemini_calls()), _gemini_stream()),
    "cohere": (_cohere_whole(), _cohere_stream()),
}
"""Two parallel calls, whole and streamed, by provider dialect."""
