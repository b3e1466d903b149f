"""Cohere's dialect: requests, whole answers, streams however cut, errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dialects import CALLED, PIXEL, ROUND, WEATHER, named, read, told

from gateway.providers import CohereProvider
from gateway.providers.codec import AttemptFailed
from gateway.providers.cohere.provider import CohereCodec

HI = [{"role": "user", "content": "hi"}]


def codec(**options: Any) -> CohereCodec:
    return CohereProvider(api_key="co-secret", **options).build("cohere", "")


def wire(body: dict[str, Any], **options: Any) -> dict[str, Any]:
    return json.loads(codec(**options).encode({"messages": HI, **body}, "command-a", stream=False).body)


def test_the_address_and_the_headers() -> None:
    sent = codec().encode({"messages": HI}, "command-a", stream=True)
    assert sent.url == "https://api.cohere.com/v2/chat"
    assert sent.headers["authorization"] == "Bearer co-secret"
    assert json.loads(sent.body) == {"model": "command-a", "messages": HI, "stream": True}


STRICT = {"type": "function", "function": {"name": "x", "strict": True}}
STRICT_WIRE = {
    "type": "function",
    "function": {"name": "x", "parameters": {"type": "object", "properties": {}}},
}
GOLDEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "settings": (
        {"max_completion_tokens": 7, "temperature": 0.5, "top_p": 0.9, "frequency_penalty": 0.1, "presence_penalty": 0.2, "stop": "a", "seed": 3},
        {"max_tokens": 7, "temperature": 0.5, "p": 0.9, "frequency_penalty": 0.1, "presence_penalty": 0.2, "stop_sequences": ["a"], "seed": 3},
    ),
    "hints that change no answer": ({"store": True, "user": "u", "top_p": 1, "n": 1}, {}),
    "what is the provider's own": ({"k": 5, "safety_mode": "OFF", "documents": ["d"]}, {"k": 5, "safety_mode": "OFF", "documents": ["d"]}),
    "instructions": (
        {"messages": [{"role": "developer", "content": [{"type": "text", "text": "a"}]}, *HI]},
        {"messages": [{"role": "system", "content": "a"}, *HI]},
    ),
    "json": ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    "a schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}},
        {"response_format": {"type": "json_object", "json_schema": {"type": "object"}}},
    ),
    "a tool": ({"tools": [WEATHER], "tool_choice": "auto"}, {"tools": [WEATHER]}),
    "a strict tool that must be used": ({"tools": [STRICT], "tool_choice": "required"}, {"tools": [STRICT_WIRE], "strict_tools": True, "tool_choice": "REQUIRED"}),
    "one of two": (
        {"tools": [WEATHER, STRICT], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"tools": [WEATHER], "strict_tools": True, "tool_choice": "REQUIRED"},
    ),
    "no tool": ({"tools": [WEATHER], "tool_choice": "none"}, {"tools": [WEATHER], "tool_choice": "NONE"}),
    "thinking": ({"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "token_budget": 1024}}),
    "how likely": ({"logprobs": True, "top_logprobs": 0}, {"logprobs": True}),
    "no thinking": ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_requests(name: str) -> None:
    body, expected = GOLDEN[name]
    assert wire(body) == {"model": "command-a", "messages": HI, "stream": False, **expected}


def test_a_round_of_tools_with_its_plan() -> None:
    planned = [ROUND[0], {**CALLED, "reasoning_content": "I will look."}, *ROUND[2:]]
    found = wire({"messages": planned})["messages"]
    assert found[1] == {
        "role": "assistant", "tool_plan": "I will look.",
        "tool_calls": [{**call, "function": {"name": "weather", "arguments": json.dumps(json.loads(call["function"]["arguments"]), separators=(",", ":"), ensure_ascii=False)}}
                       for call in CALLED["tool_calls"]],  # type: ignore[attr-defined]
    }  # fmt: skip
    assert found[2] == {"role": "tool", "tool_call_id": "call_1", "content": '{"sky": "blue"}'}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "n": ({"n": 2}, "n"), "bias": ({"logit_bias": {"1": 1}}, "logit_bias"), "rivals": ({"logprobs": True, "top_logprobs": 2}, "top_logprobs"),
    "hot": ({"temperature": 1.5}, "temperature"), "negative": ({"presence_penalty": -1}, "presence_penalty"),
    "audio": ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
    "a local file": ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]}, "messages[0].content[0].image_url"),
    "a nameless result": ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cohere_cannot_do_is_refused_by_name_or_dropped_on_demand(name: str) -> None:
    body, param = REFUSED[name]
    with pytest.raises(AttemptFailed) as caught:
        wire(body)
    expected = "unsupported" if caught.value.error.code == "unsupported_parameter" else "refused"
    assert (caught.value.failure.kind, caught.value.error.param) == (expected, param)
    assert "cohere" in caught.value.error.message
    if param.startswith("messages"):
        with pytest.raises(AttemptFailed):
            wire(body, drop_params=True)
    else:
        assert wire(body, drop_params=True)["messages"] == HI


USAGE = {
    "billed_units": {"input_tokens": 5.0, "output_tokens": 6.0},
    "tokens": {"input_tokens": 35.0, "output_tokens": 7.0},
    "cached_tokens": 20.0,
}
CITATION = {"start": 7, "end": 11, "text": "Bonn", "sources": [
    {"type": "document", "id": "d", "document": {"url": "https://b.de", "title": "B"}}, {"type": "tool", "id": "t", "tool_output": {}}]}  # fmt: skip
ANSWER = {
    "id": "c-1", "finish_reason": "TOOL_CALL",
    "message": {
        "role": "assistant", "tool_plan": "m",
        "content": [{"type": "thinking", "thinking": "h"}, {"type": "text", "text": "Grüße, "}, {"type": "text", "text": "Bonn"}],
        "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}},
                       {"id": "t2", "type": "function", "function": {"name": "now", "arguments": "{}"}}],
        "citations": [CITATION],
    },
    "usage": USAGE,
}  # fmt: skip
EXPECTED = {
    "role": "assistant", "content": "Grüße, Bonn", "refusal": None, "reasoning_content": "hm",
    "annotations": [{"type": "url_citation", "url_citation": {"start_index": 7, "end_index": 11, "url": "https://b.de", "title": "B"}}],
    "tool_calls": ANSWER["message"]["tool_calls"],  # type: ignore[index]
}  # fmt: skip


def counted(usage: Any) -> tuple[int, int, int]:
    return usage.prompt, usage.completion, usage.cached


def test_a_whole_answer() -> None:
    answer = codec().decode(200, {}, json.dumps(ANSWER).encode(), now=3)
    assert answer.data["choices"] == [
        {"index": 0, "message": EXPECTED, "logprobs": None, "finish_reason": "tool_calls"}
    ]
    assert (answer.data["id"], counted(answer.usage)) == ("c-1", (5, 6, 5))


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("COMPLETE", "stop"), ("STOP_SEQUENCE", "stop"), ("MAX_TOKENS", "length"), ("BORN_LATER", "stop")],
)
def test_finish_reasons(reason: str, finish: str) -> None:
    assert (
        codec().decode(200, {}, json.dumps({**ANSWER, "finish_reason": reason}).encode(), now=0).finish_reason
        == finish
    )


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", json.dumps({**ANSWER, "finish_reason": "ERROR"}).encode()]
)
def test_nonsense_is_the_providers_failure(body: bytes) -> None:
    with pytest.raises(AttemptFailed) as caught:
        codec().decode(200, {}, body, now=0)
    assert caught.value.failure.kind == "failed"


def step(kind: str, index: int | None = None, **message: Any) -> dict[str, Any]:
    place = {} if index is None else {"index": index}
    return {"type": kind, **place, "delta": {"message": message}}


END = {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": USAGE}}
EVENTS = [
    {"type": "message-start", "id": "c-1", "delta": {"message": {"role": "assistant"}}},
    step("content-start", 0, content={"type": "thinking", "thinking": ""}), step("content-delta", 0, content={"thinking": "h"}),
    {"type": "content-end", "index": 0},
    step("tool-plan-delta", tool_plan="m"),
    step("content-start", 1, content={"type": "text", "text": ""}), step("content-delta", 1, content={"text": "Grüße, "}),
    step("content-delta", 1, content={"text": "Bonn"}), step("citation-start", 0, citations=CITATION), {"type": "citation-end", "index": 0},
    {"type": "content-end", "index": 1},
    step("tool-call-start", 0, tool_calls={"id": "t1", "type": "function", "function": {"name": "weather", "arguments": ""}}),
    step("tool-call-delta", 0, tool_calls={"function": {"arguments": '{"city":'}}),
    step("tool-call-delta", 0, tool_calls={"function": {"arguments": '"Bonn"}'}}), {"type": "tool-call-end", "index": 0},
    step("tool-call-start", 1, tool_calls={"id": "t2", "type": "function", "function": {"name": "now", "arguments": ""}}),
    step("tool-call-delta", 1, tool_calls={"function": {"arguments": "{}"}}), {"type": "tool-call-end", "index": 1},
    END,
]  # fmt: skip
STREAM = named(EVENTS)


@pytest.mark.parametrize(
    "event", [b"{not json", b"[1]", json.dumps({**END, "delta": {"finish_reason": "ERROR"}}).encode()]
)
def test_errors_and_junk_inside_a_stream(event: bytes) -> None:
    with pytest.raises(AttemptFailed):
        codec().stream().feed(b"data: " + event + b"\n\n")


ERRORS = [
    (400, "bad field", "refused", 400, None),
    (400, "too many tokens: size limit exceeded by 9 tokens", "refused", 400, "context_length_exceeded"),
    (401, "invalid api token", "credentials", 502, "provider_credentials"),
    (402, "billing", "credentials", 502, "provider_credentials"),
    (404, "model 'x' not found", "refused", 404, "model_not_found"),
    (422, "no", "refused", 422, None),
    (429, "slow down", "throttled", 429, "rate_limit_exceeded"),
    (498, "invalid token", "credentials", 502, "provider_credentials"),
    (500, "oops", "failed", 502, "upstream_error"),
    (503, "busy", "failed", 503, "upstream_overloaded"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "message", "failure", "client", "code"), ERRORS)
def test_errors(status: int, message: str, failure: str, client: int, code: str | None) -> None:
    found = codec().refuse(status, {"retry-after": "2"}, json.dumps({"message": message}).encode(), now=0)
    assert (found.failure.kind, found.error.status, found.error.code) == (failure, client, code)
    assert (message in found.error.message) == (failure in ("refused", "throttled"))


@pytest.mark.parametrize(("asked", "told"), [("END", "END"), (["END", " "], "END"), (["END", "."], "")])
def test_the_stop_sequence_that_was_met_is_told_where_it_can_only_be_one(asked: Any, told: str) -> None:
    met = {"finish_reason": "STOP_SEQUENCE", "usage": USAGE}
    answer = codec().decode(200, {}, json.dumps({**ANSWER, **met}).encode(), now=0, asked={"stop": asked})
    assert answer.data["choices"][0]["stop_reason"] == told
    chunks = read(codec().stream({"stop": asked}), [named([*EVENTS[:-1], {"type": "message-end", "delta": met}])])
    assert chunks[-2].data["choices"][0]["stop_reason"] == told
    ended = codec().decode(200, {}, json.dumps({**ANSWER, "finish_reason": "COMPLETE"}).encode(), now=0, asked={"stop": asked})
    assert "stop_reason" not in ended.data["choices"][0]


PIECES = [{"text": "Grüße, ", "token_ids": [7, 8], "logprobs": [-0.5, -0.25]}, {"text": "Bonn", "token_ids": [9], "logprobs": [-1.0]}]
LIKELY = {"content": [
    {"token": "Grüße, ", "logprob": -0.75, "bytes": list("Grüße, ".encode()), "top_logprobs": []},
    {"token": "Bonn", "logprob": -1.0, "bytes": list(b"Bonn"), "top_logprobs": []}], "refusal": None}  # fmt: skip


def test_log_probabilities_in_openais_shape() -> None:
    answer = codec().decode(200, {}, json.dumps({**ANSWER, "logprobs": PIECES}).encode(), now=0)
    assert answer.data["choices"][0]["logprobs"] == LIKELY
    texts = iter(PIECES)
    events = [{**one, "logprobs": next(texts)} if one["type"] == "content-delta" and "text" in one["delta"]["message"]["content"] else one
              for one in EVENTS]  # fmt: skip
    raw = named(events)
    for pieces in ([raw], [bytes([byte]) for byte in raw]):
        assert told(read(codec().stream(), pieces))["choices"][0]["logprobs"] == LIKELY


@pytest.mark.parametrize("junk", [None, 3, [], [3], [{}], [{"text": "x"}], [{"text": "x", "logprobs": ["a"]}], [{"logprobs": [1]}]])
def test_log_probabilities_that_are_none(junk: Any) -> None:
    answer = codec().decode(200, {}, json.dumps({**ANSWER, "logprobs": junk}).encode(), now=0)
    assert answer.data["choices"][0]["logprobs"] is None
    raw = named([{**one, "logprobs": junk} if one["type"] == "content-delta" else one for one in EVENTS])
    assert told(read(codec().stream(), [raw]))["choices"][0]["logprobs"] is None


@pytest.mark.parametrize(("start", "index"), [(7, None), (0, 2), (7, 2), (7, "x")])
def test_a_citation_may_count_from_its_own_block(start: int, index: Any) -> None:
    cited = {**CITATION, "start": start, "end": start + 4, "content_index": index}
    whole = {**ANSWER, "message": {**ANSWER["message"], "citations": [cited]}}  # type: ignore[dict-item]
    answer = codec().decode(200, {}, json.dumps(whole).encode(), now=0).data["choices"][0]["message"]
    parted = [
        *EVENTS[:7], {"type": "content-end", "index": 1},
        step("content-start", 2, content={"type": "text", "text": ""}), step("content-delta", 2, content={"text": "Bonn"}),
        step("citation-start", 0, citations=cited), END,
    ]  # fmt: skip
    streamed = told(read(codec().stream(), [named(parted)]))["choices"][0]["message"]
    for message in (answer, streamed):
        (page,) = [one["url_citation"] for one in message["annotations"]]
        assert message["content"][page["start_index"] : page["end_index"]] == "Bonn"
