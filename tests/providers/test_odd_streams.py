"""Streams as servers behind a dialect write them now and then: what counts is not lost, and nothing ends in silence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dialects import plain, read

from gateway.protocol.assemble import assemble
from gateway.providers import AnthropicProvider, CohereProvider, GeminiProvider, OpenAIProvider
from gateway.providers.codec import AttemptFailed, Codec

CODECS: dict[str, Codec] = {
    "anthropic": AnthropicProvider(api_key="k").build("p", ""), "gemini": GeminiProvider(api_key="k").build("p", ""),
    "cohere": CohereProvider(api_key="k").build("p", ""), "responses": OpenAIProvider(api_key="k", api="responses").build("p", ""),
}  # fmt: skip
START = {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 5, "output_tokens": 1}}}
TEXT = [{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "content_block_stop", "index": 0}]  # fmt: skip
USED = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a", "name": "f", "input": {}}}
SERVER = [{"type": "content_block_start", "index": 1, "content_block": {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}},
          {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
          {"type": "content_block_stop", "index": 1}]  # fmt: skip


def ended(reason: str, **usage: int) -> list[dict[str, Any]]:
    return [{"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 7, **usage}}, {"type": "message_stop"}]


def google(parts: list[dict[str, Any]], reason: str = "", **more: Any) -> dict[str, Any]:
    one = {"content": {"parts": parts}, "index": 0} | ({"finishReason": reason} if reason else {})
    return {"candidates": [one], "responseId": "r", **more}


COUNT = {"promptTokenCount": 5, "candidatesTokenCount": 7}
CREATED = {"type": "response.created", "response": {"id": "r", "model": "m"}}
CALL = {"type": "function_call", "call_id": "a", "name": "f", "arguments": '{"a":1}'}


def completed(status: str = "completed") -> dict[str, Any]:
    usage = {"input_tokens": 5, "output_tokens": 7}
    return {"type": "response.completed", "response": {"id": "r", "status": status, "output": [], "usage": usage}}


def tool(kind: str) -> dict[str, Any]:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    return {"type": kind, "index": 0, "delta": {"message": {"tool_calls": call}}}


END = {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": {"billed_units": {"input_tokens": 5, "output_tokens": 7}}}}
Case = tuple[str, list[dict[str, Any]], str, "str | None", str]
CASES: dict[str, Case] = {
    "all usage at the end": ("anthropic", [{**START, "message": {"id": "m"}}, *TEXT, *ended("end_turn", input_tokens=5)], "stop", "hi", ""),
    "an input of 0 at the end": ("anthropic", [START, *TEXT, *ended("end_turn", input_tokens=0)], "stop", "hi", ""),
    "a call that is not closed": ("anthropic", [START, USED, *ended("tool_use")], "tool_calls", None, "{}"),
    "a tool of the server": ("anthropic", [START, *TEXT, *SERVER, *ended("end_turn")], "stop", "hi", ""),
    "usage first": ("gemini", [google([{"text": "hi"}], usageMetadata=COUNT), google([], "STOP")], "stop", "hi", ""),
    "usage alone": ("gemini", [google([{"text": "hi"}], "STOP"), {"usageMetadata": COUNT}], "stop", "hi", ""),
    "text after the end": ("gemini", [google([{"text": "h"}], "STOP"), google([{"text": "i"}], "STOP", usageMetadata=COUNT)], "stop", "hi", ""),
    "blocked in the middle": ("gemini", [google([{"text": "hi"}]), {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": COUNT}],
                              "content_filter", "hi", ""),
    "a call without arguments": ("cohere", [{"type": "message-start", "id": "c"}, tool("tool-call-start"), {"type": "tool-call-end", "index": 0},
                                            END], "tool_calls", None, "{}"),
    "a call that nobody ended": ("cohere", [{"type": "message-start", "id": "c"}, tool("tool-call-start"), END], "tool_calls", None, "{}"),
    "a call all at once": ("responses", [CREATED, {"type": "response.output_item.done", "output_index": 0, "item": CALL}, completed()],
                           "tool_calls", None, '{"a":1}'),
    "a call without deltas": ("responses", [
        CREATED, {"type": "response.output_item.added", "output_index": 0, "item": {**CALL, "arguments": ""}},
        {"type": "response.output_item.done", "output_index": 0, "item": CALL}, completed()], "tool_calls", None, '{"a":1}'),
    "a call told twice": ("responses", [
        CREATED, {"type": "response.output_item.added", "output_index": 0, "item": {**CALL, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"a":1}'},
        {"type": "response.output_item.done", "output_index": 0, "item": CALL}, completed()], "tool_calls", None, '{"a":1}'),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost(name: str) -> None:
    dialect, events, reason, text, arguments = CASES[name]
    raw = plain(events)
    for pieces in ([raw], [raw[at : at + 1] for at in range(len(raw))]):
        found = assemble([chunk.data for chunk in read(CODECS[dialect].stream({}), pieces)])
        (choice,) = found["choices"]
        message = choice["message"]
        assert (choice["finish_reason"], message["content"]) == (reason, text)
        assert [one["function"]["arguments"] for one in message.get("tool_calls", [])] == ([arguments] if arguments else [])
        assert (found["usage"]["prompt_tokens"], found["usage"]["completion_tokens"]) == (5, 7)


BROKEN: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "no last event": ("anthropic", [START, *TEXT, ended("end_turn")[0]]),
    "cancelled": ("responses", [CREATED, completed("cancelled")]),
    "given up": ("cohere", [{"type": "message-start", "id": "c"}, {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "x"}}]),
    "no reason": ("gemini", [google([{"text": "hi"}])]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_broke_is_a_failure_and_no_answer(name: str) -> None:
    dialect, events = BROKEN[name]
    with pytest.raises(AttemptFailed) as caught:
        read(CODECS[dialect].stream({}), [plain(events)])
    assert caught.value.failure.kind == "failed" and json.dumps(caught.value.error.message)
