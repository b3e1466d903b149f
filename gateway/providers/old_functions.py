"""Functions as chat called them before there were tools (``functions``, ``function_call``, turns of the role
``function``), for providers that know tools alone: told as tools, and back. OpenAI itself still answers them, with one
call at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from gateway.protocol.answer import Chunk, WholeAnswer
from gateway.protocol.lists import dicts
from gateway.providers.codec import AttemptFailed, Codec, StreamDecoder

_OWN = "extra_content"
"""Of a call: what Gemini signed, and wants back with it."""


def needs_tools(codec: Codec, body: Mapping[str, Any]) -> bool:
    """Whether a request offers functions to a provider that does not know them."""
    return bool(body.get("functions")) and not getattr(codec, "takes_functions", False)


def as_tools(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """``body`` with tools in the place of its functions."""
    new = {name: value for name, value in body.items() if name not in ("functions", "function_call")}
    tools = [{"type": "function", "function": one} for one in dicts(body["functions"])]
    new["tools"] = [*(body.get("tools") or ()), *tools]
    new["parallel_tool_calls"] = False
    choice = body.get("function_call")
    if isinstance(choice, dict):
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    if choice is not None:
        new["tool_choice"] = choice
    new["messages"] = _turns(dicts(body.get("messages")))
    return new


def _turns(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Calls had no ids: a result belongs to the last call of its function. One that answers no call stays what it is,
    and is refused by its place."""
    turns, ids = list[dict[str, Any]](), dict[Any, str]()
    for at, message in enumerate(messages):
        called, name = message.get("function_call"), message.get("name")
        if isinstance(called, dict):
            ids[called.get("name")] = id_ = f"call_{at:08d}"
            function = {key: value for key, value in called.items() if key != _OWN}
            call = {"id": id_, "type": "function", "function": function}
            call |= {_OWN: called[_OWN]} if called.get(_OWN) else {}
            rest = {key: value for key, value in message.items() if key != "function_call"}
            turns.append({**rest, "tool_calls": [call]})
        elif message.get("role") == "function" and name in ids:
            turns.append({"role": "tool", "tool_call_id": ids[name], "content": message.get("content")})
        else:
            turns.append(message)
    return turns


# ------------------------------------------------------------------------------------------------ answers
def heard(answer: WholeAnswer) -> WholeAnswer:
    """An answer in the client's words: its call is one of a function."""
    choices = [_heard(one, "message") for one in dicts(answer.data.get("choices"))]
    finish = choices[0].get("finish_reason") if choices else None
    return structs.replace(answer, data={**answer.data, "choices": choices}, finish_reason=finish)


def _heard(choice: dict[str, Any], part: str) -> dict[str, Any]:
    """``part``: where what was said stands, whole or as a delta."""
    new, said = dict(choice), choice.get(part)
    if isinstance(said, dict) and "tool_calls" in said:
        rest = {name: value for name, value in said.items() if name != "tool_calls"}
        new[part] = {**rest, **_called(dicts(said["tool_calls"]))}
    if choice.get("finish_reason") == "tool_calls":
        new["finish_reason"] = "function_call"
    return new


def _called(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The first call; a model may have made others, which it can make again."""
    if not calls or calls[0].get("index") or not isinstance(calls[0].get("function"), dict):
        return {}
    own = {_OWN: calls[0][_OWN]} if calls[0].get(_OWN) else {}
    return {"function_call": {**calls[0]["function"], **own}}


class FunctionCalls:
    """A stream's decoder whose calls of tools are calls of functions."""

    def __init__(self, inner: StreamDecoder) -> None:
        self._inner = inner

    @property
    def done(self) -> bool:
        return self._inner.done

    @property
    def problem(self) -> AttemptFailed | None:
        return self._inner.problem

    def feed(self, data: bytes) -> list[Chunk]:
        return [_chunk(one) for one in self._inner.feed(data)]

    def finish(self) -> list[Chunk]:
        return [_chunk(one) for one in self._inner.finish()]


def _chunk(chunk: Chunk) -> Chunk:
    if chunk.pattern is not None:
        return chunk  # it is nothing but text
    choices = [_heard(one, "delta") for one in dicts(chunk.data.get("choices"))]
    finish = "function_call" if chunk.finish_reason == "tool_calls" else chunk.finish_reason
    return structs.replace(chunk, own={**chunk.data, "choices": choices}, finish_reason=finish)
