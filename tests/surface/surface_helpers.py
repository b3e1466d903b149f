"""Scripted answers for the ingress tests: tools, reasoning, refusals, and streams that are cut."""

from __future__ import annotations

from typing import Any

from scripted import Behaviour, Line, chunk, sse

USAGE = {
    "prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 10}, "completion_tokens_details": {"reasoning_tokens": 4},
}  # fmt: skip
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def completion(message: dict[str, Any], finish: str = "stop", **choice: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": None, "refusal": None, **message}
    return {
        "id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE,
        "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": finish, **choice}],
    }  # fmt: skip


def call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def say(message: dict[str, Any], finish: str = "stop", **choice: Any) -> Behaviour:
    """Answers whole."""

    async def behave(line: Line) -> None:
        await line.answer(200, completion(message, finish, **choice))

    return behave


def stream(*deltas: dict[str, Any], finish: str = "stop", cut: bool = False, piece: int = 0) -> Behaviour:
    """Answers with one chunk for each delta."""
    chunks = [
        chunk({"role": "assistant", "content": "", "refusal": None}),
        *(chunk(delta) for delta in deltas),
    ]
    if not cut:
        chunks += [chunk({}, finish), {**chunk({}), "choices": [], "usage": USAGE}]

    async def behave(line: Line) -> None:
        await line.stream(sse(chunks, done=not cut), cut=cut, piece=piece)

    return behave


def tool_delta(index: int, arguments: str, call_id: str = "", name: str = "") -> dict[str, Any]:
    """One delta of a streamed call; id and name stand on the first only."""
    one: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if call_id:
        one |= {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"tool_calls": [one]}


PARALLEL = (
    tool_delta(0, "", "call_a", "weather"),
    tool_delta(0, '{"city":'),
    tool_delta(0, '"Bonn"}'),
    tool_delta(1, "", "call_b", "weather"),
    tool_delta(1, '{"city":"Kiel"}'),
)
INTERLEAVED = (
    tool_delta(0, "", "call_a", "weather"),
    tool_delta(1, "", "call_b", "weather"),
    tool_delta(0, '{"city":'),
    tool_delta(1, '{"city":'),
    tool_delta(1, '"Kiel"}'),
    tool_delta(0, '"Bonn"}'),
)
