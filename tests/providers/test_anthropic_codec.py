"""Anthropic's dialect: requests, whole answers, streams however cut, errors."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from dialects import CALLED, PIXEL, ROUND, WEATHER, named, read, told

from gateway.providers import AnthropicProvider
from gateway.providers.anthropic.provider import AnthropicCodec
from gateway.providers.codec import AttemptFailed

HI = [{"role": "user", "content": "hi"}]
HI_WIRE = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
OLD, NEW = "claude-sonnet-4-5", "claude-opus-5"
TOOL = {
    "name": "weather",
    "description": "Looks the weather up.",
    "input_schema": WEATHER["function"]["parameters"],
}


def codec(**options: Any) -> AnthropicCodec:
    return AnthropicProvider(api_key="sk-ant-secret", **options).build("claude", "")


def wire(body: dict[str, Any], model: str = OLD, **options: Any) -> dict[str, Any]:
    sent = codec(**options).encode({"model": "task", "messages": HI, **body}, model, stream=False)
    return json.loads(sent.body)


def error_of(body: dict[str, Any], model: str = OLD) -> Any:
    with pytest.raises(AttemptFailed) as caught:
        wire(body, model)
    expected = "unsupported" if caught.value.error.code == "unsupported_parameter" else "refused"
    assert caught.value.failure.kind == expected
    assert caught.value.error.status == 400
    assert "claude" in caught.value.error.message
    return caught.value.error


def test_the_address_and_the_headers() -> None:
    sent = codec(headers={"anthropic-beta": "x"}).encode({"messages": HI}, OLD, stream=True)
    assert sent.url == "https://api.anthropic.com/v1/messages"
    assert sent.headers["x-api-key"] == "sk-ant-secret"
    assert sent.headers["anthropic-version"] == "2023-06-01"
    assert sent.headers["anthropic-beta"] == "x"
    assert json.loads(sent.body) == {"model": OLD, "messages": HI_WIRE, "max_tokens": 8192, "stream": True}


GOLDEN: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "limits and sampling": (
        OLD,
        {"max_completion_tokens": 7, "max_tokens": 9, "temperature": 0.5, "stop": ["a", " ", "b"], "user": "u"},
        {"max_tokens": 7, "temperature": 0.5, "stop_sequences": ["a", "b"], "metadata": {"user_id": "u"}},
    ),
    "one stop": (OLD, {"stop": "a", "temperature": 1}, {"stop_sequences": ["a"]}),
    "hints that change no answer": (
        OLD, {"store": True, "metadata": {"a": "b"}, "prompt_cache_key": "k", "prediction": {"type": "content"}, "n": 1}, {},
    ),
    "what is the provider's own": (OLD, {"top_k": 5, "container": "c"}, {"top_k": 5, "container": "c"}),
    "nobody replaces the messages": (OLD, {"system": "evil"}, {"system": "evil"}),
    "instructions": (
        OLD,
        {"messages": [{"role": "system", "content": "a"}, *HI, {"role": "developer", "content": "b"}]},
        {"system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ),
    "instructions win over a field of that name": (
        OLD, {"messages": [{"role": "system", "content": "a"}, *HI], "system": "evil"},
        {"system": [{"type": "text", "text": "a"}]},
    ),
    "instructions with a file": (
        OLD,
        {"messages": [{"role": "developer", "content": [
            {"type": "text", "text": "Answer by this."}, {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
            {"type": "file", "file": {"filename": "a", "file_data": "data:application/pdf;base64,aGk="}}]}, *HI]},
        {"system": [{"type": "text", "text": "Answer by this."}],
         "messages": [{"role": "user", "content": [
             {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
             {"type": "document", "title": "a",
              "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}},
             {"type": "text", "text": "hi"}]}]},
    ),
    "instructions alone": (
        OLD, {"messages": [{"role": "system", "content": "hi"}]}, {},
    ),
    "a tool": (OLD, {"tools": [WEATHER], "tool_choice": "auto"}, {"tools": [TOOL]}),
    "a tool that must be used": (
        OLD, {"tools": [WEATHER], "tool_choice": "required"}, {"tools": [TOOL], "tool_choice": {"type": "any"}},
    ),
    "no tool": (OLD, {"tools": [WEATHER], "tool_choice": "none"}, {"tools": [TOOL], "tool_choice": {"type": "none"}}),
    "one tool, once": (
        OLD,
        {"tools": [WEATHER], "parallel_tool_calls": False, "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}},
    ),
    "tools that are allowed": (
        OLD,
        {"tools": [WEATHER, {"type": "function", "function": {"name": "x"}}],
         "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "x"}}]}}},
        {"tools": [{"name": "x", "input_schema": {"type": "object", "properties": {}}}]},
    ),
    "a strict tool and Anthropic's own": (
        NEW,
        {"tools": [{"type": "function", "function": {"name": "x", "strict": True}}, {"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"name": "x", "input_schema": {"type": "object", "properties": {}}, "strict": True}, {"type": "web_search_20250305", "name": "web_search"}]},
    ),
    "a schema": (
        OLD,
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
    ),
    "a budget, with the answer's room kept": (
        OLD, {"reasoning_effort": "low"}, {"max_tokens": 10240, "thinking": {"type": "enabled", "budget_tokens": 2048}},
    ),
    "a budget within the client's limit": (
        OLD, {"reasoning_effort": "high", "max_tokens": 4000}, {"max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}},
    ),
    "no room to think": (OLD, {"reasoning_effort": "high", "max_tokens": 1000}, {"max_tokens": 1000}),
    "no thinking": (OLD, {"reasoning_effort": "none"}, {}),
    "adaptive": (
        NEW, {"reasoning_effort": "xhigh"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
    ),
    "adaptive with a lower top": (
        "claude-sonnet-4-6", {"reasoning_effort": "xhigh"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
    ),
    "adaptive, switched off": (NEW, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    "adaptive that cannot be": ("claude-fable-5", {"reasoning_effort": "none"}, {"output_config": {"effort": "low"}}),
    "thinking as the client wrote it": (
        OLD, {"thinking": {"type": "enabled", "budget_tokens": 3000}, "reasoning_effort": "low"},
        {"thinking": {"type": "enabled", "budget_tokens": 3000}},
    ),
    "a forced tool goes before thinking": (
        OLD, {"reasoning_effort": "low", "max_tokens": 9000, "tools": [WEATHER], "tool_choice": "required"},
        {"max_tokens": 9000, "tools": [TOOL], "tool_choice": {"type": "any"}},
    ),
    "tier": (OLD, {"service_tier": "default"}, {"service_tier": "standard_only"}),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_requests(name: str) -> None:
    model, body, expected = GOLDEN[name]
    assert wire(body, model) == {"model": model, "messages": HI_WIRE, "max_tokens": 8192, **expected}


def test_a_round_of_tools_becomes_three_turns() -> None:
    found = wire({"messages": [*ROUND, {"role": "user", "content": "so?"}]})["messages"]
    assert found == [
        {"role": "user", "content": [{"type": "text", "text": "Bonn and Köln?"}]},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bonn"}},
            {"type": "tool_use", "id": "call_2", "name": "weather", "input": {"city": "Köln"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": '{"sky": "blue"}'}]},
            {"type": "tool_result", "tool_use_id": "call_2", "content": [{"type": "text", "text": "rain"}]},
            {"type": "text", "text": "so?"},
        ]},
    ]  # fmt: skip


def test_images_and_files() -> None:
    content = [
        {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    ]
    assert wire({"messages": [{"role": "user", "content": content}]})["messages"][0]["content"] == [
        {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            "title": "a.pdf",
        },
    ]


def test_thinking_survives_the_way_back() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "x"},
    ]
    kept = [ROUND[0], {**CALLED, "thinking_blocks": blocks}, *ROUND[2:]]
    found = wire({"messages": kept, "reasoning_effort": "low"})
    assert found["messages"][1]["content"][:2] == blocks
    assert found["thinking"]["type"] == "enabled"
    # A client that did not keep them cannot think on in this round, but is answered all the same.
    assert "thinking" not in wire({"messages": ROUND, "reasoning_effort": "low"})


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "n": (OLD, {"n": 2}, "n"),
    "logprobs": (OLD, {"logprobs": True}, "logprobs"),
    "seed": (OLD, {"seed": 1}, "seed"),
    "penalty": (OLD, {"frequency_penalty": 0.1}, "frequency_penalty"),
    "bias": (OLD, {"logit_bias": {"1": 2}}, "logit_bias"),
    "too hot": (OLD, {"temperature": 1.5}, "temperature"),
    "a model that samples by itself": (NEW, {"temperature": 0}, "temperature"),
    "temperature beside thinking": (OLD, {"temperature": 0.2, "reasoning_effort": "low"}, "temperature"),
    "json without a schema": (OLD, {"response_format": {"type": "json_object"}}, "response_format"),
    "a schema nobody enforces": (
        "claude-3-7-sonnet-latest", {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}, "response_format",
    ),
    "a model that does not think": ("claude-3-5-haiku-latest", {"reasoning_effort": "low"}, "reasoning_effort"),
    "a model that is not forced": ("claude-sonnet-5-5", {"tools": [WEATHER], "tool_choice": "required"}, "tool_choice"),
    "flex": (OLD, {"service_tier": "flex"}, "service_tier"),
    "custom tool": (OLD, {"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
    "audio out": (OLD, {"modalities": ["text", "audio"]}, "modalities"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_anthropic_cannot_do_is_refused_by_name_or_dropped_on_demand(name: str) -> None:
    model, body, param = REFUSED[name]
    assert error_of(body, model).param == param
    dropped = wire(body, model, drop_params=True)
    assert dropped["messages"] == HI_WIRE
    assert param not in dropped or (param == "temperature" and dropped[param] <= 1)


NEVER: dict[str, tuple[dict[str, Any], str]] = {
    "audio": ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
    "a local file": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]},
        "messages[0].content[0].image_url",
    ),
    "a strange image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA"}}]}]},
        "messages[0].content[0].image_url",
    ),
    "an uploaded file": (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "messages[0].content[0].file",
    ),
    "functions": ({"functions": [{"name": "x"}]}, "functions"),
    "no call named": ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
}  # fmt: skip


@pytest.mark.parametrize("name", NEVER)
def test_what_cannot_be_left_out_is_refused_also_when_parameters_are_dropped(name: str) -> None:
    body, param = NEVER[name]
    assert error_of(body).param == param
    with pytest.raises(AttemptFailed):
        wire(body, drop_params=True)


def test_the_operator_knows_a_model_better() -> None:
    own = [{"match": "claude-tomorrow", "thinking": "budget", "sampling": True}]
    provider = msgspec.convert({"type": "anthropic", "models": own}, AnthropicProvider)
    sent = json.loads(
        provider.build("claude", "")
        .encode({"messages": HI, "temperature": 0}, "claude-tomorrow", stream=False)
        .body
    )
    assert sent["temperature"] == 0


USAGE = {"input_tokens": 10, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 5, "output_tokens": 7,
         "output_tokens_details": {"thinking_tokens": 3}, "service_tier": "standard"}  # fmt: skip
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "text", "text": "Grüße, ", "citations": None},
        {"type": "text", "text": "Bonn", "citations": [
            {"type": "web_search_result_location", "url": "https://b.de", "title": "B", "cited_text": "x", "encrypted_index": "e"},
            {"type": "char_location", "cited_text": "x", "document_index": 0}]},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bonn"}},
        {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
    ],
    "stop_reason": "tool_use", "stop_sequence": None, "usage": USAGE,
}  # fmt: skip
AT_BONN = {"start_index": 7, "end_index": 11}
BY_PAGE: Any = {**AT_BONN, "citation": MESSAGE["content"][2]["citations"][0]}  # type: ignore[index]
BY_PLACE = [BY_PAGE, {**AT_BONN, "citation": {"type": "char_location", "cited_text": "x", "document_index": 0}}]
"""What has no address keeps Claude's form, and what Claude wants back does."""
SEARCHED = {"start_index": 11, "thoughts": 1, "block": {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}}
EXPECTED_MESSAGE = {
    "role": "assistant", "content": "Grüße, Bonn", "refusal": None,
    "annotations": [{"type": "url_citation", "url_citation": {"start_index": 7, "end_index": 11, "url": "https://b.de", "title": "B"}}],
    "reasoning_content": "hm", "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"}],
    "tool_calls": [
        {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}},
        {"id": "toolu_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ],
}  # fmt: skip
EXPECTED_USAGE = (35, 7, 20, 3)


def counted(usage: Any) -> tuple[int, int, int, int]:
    return usage.prompt, usage.completion, usage.cached, usage.reasoning


def test_a_whole_answer() -> None:
    answer = codec().decode(200, {}, json.dumps(MESSAGE).encode(), now=12.5)
    assert answer.data["choices"] == [
        {"index": 0, "message": {**EXPECTED_MESSAGE, "citations": BY_PLACE, "server_blocks": [SEARCHED]}, "logprobs": None, "finish_reason": "tool_calls"}
    ]
    assert (answer.data["object"], answer.data["created"], answer.data["model"]) == (
        "chat.completion",
        12,
        "claude-sonnet-4-5-20250929",
    )
    assert answer.data["service_tier"] == "default"
    assert answer.data["usage"]["prompt_tokens"] == 35
    assert answer.data["usage"]["prompt_tokens_details"]["cache_write_tokens"] == 5
    assert counted(answer.usage) == EXPECTED_USAGE
    assert (answer.text, answer.finish_reason) == ("Grüße, Bonn", "tool_calls")


@pytest.mark.parametrize(
    ("stop", "finish"),
    [("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("refusal", "content_filter"),
     ("model_context_window_exceeded", "length"), ("pause_turn", "stop"), ("born_later", "stop")],
)  # fmt: skip
def test_stop_reasons(stop: str, finish: str) -> None:
    data = {**MESSAGE, "content": [], "stop_reason": stop}
    answer = codec().decode(200, {}, json.dumps(data).encode(), now=0)
    assert answer.finish_reason == finish
    message = answer.data["choices"][0]["message"]
    assert (message["content"] is None) == bool(message["refusal"]) == (stop == "refusal")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"content": 1}', b"\xff"])
def test_nonsense_is_the_providers_failure(body: bytes) -> None:
    with pytest.raises(AttemptFailed) as caught:
        codec().decode(200, {}, body, now=0)
    assert caught.value.failure.kind == "failed"


def start(**usage: Any) -> dict[str, Any]:
    message = {**MESSAGE, "content": [], "stop_reason": None, "usage": {**USAGE, "output_tokens": 1, **usage}}
    return {"type": "message_start", "message": message}


def block(index: int, opening: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": opening},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


CITED = MESSAGE["content"][2]["citations"][0]  # type: ignore[index]
EVENTS = [
    start(),
    {"type": "ping"},
    *block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "h"},
           {"type": "thinking_delta", "thinking": "m"}, {"type": "signature_delta", "signature": "sig"}),
    *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Grüße"}, {"type": "text_delta", "text": ", "}),
    *block(2, {"type": "text", "text": ""}, {"type": "citations_delta", "citation": CITED}, {"type": "text_delta", "text": "Bonn"}),
    *block(3, {"type": "server_tool_use", "id": "s", "name": "web_search"}, {"type": "input_json_delta", "partial_json": "{}"}),
    *block(4, {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}, {"type": "input_json_delta", "partial_json": ""},
           {"type": "input_json_delta", "partial_json": '{"city":'}, {"type": "input_json_delta", "partial_json": '"Bonn"}'}),
    *block(5, {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}, {"type": "input_json_delta", "partial_json": ""}),
    {"type": "born_later", "x": 1},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
]  # fmt: skip
STREAM = named(EVENTS)


@pytest.mark.parametrize(
    ("event", "kind"),
    [(b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}', "failed"),
     (b'{"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}', "throttled"),
     (b'{"type": "error", "error": {"type": "authentication_error", "message": "sk-ant-secret"}}', "credentials"),
     (b'{"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}', "refused"),
     (b'{"type": "error"}', "failed"), (b"{not json", "failed"), (b"[1]", "failed"), (b'{"type": "message_stop"}', "failed")],
)  # fmt: skip
def test_errors_and_junk_inside_a_stream(event: bytes, kind: str) -> None:
    with pytest.raises(AttemptFailed) as caught:
        codec().stream().feed(b"event: x\ndata: " + event + b"\n\n")
    assert caught.value.failure.kind == kind
    assert "sk-ant-secret" not in caught.value.error.message


def test_a_refused_stream() -> None:
    delta = {"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "No."}}
    events = [start(), {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 0}}, EVENTS[-1]]
    (choice,) = told(read(codec().stream(), [named(events)]))["choices"]
    assert (choice["finish_reason"], choice["message"]["refusal"]) == ("content_filter", "No.")


ERRORS = [
    (400, "invalid_request_error", "messages: bad", "refused", 400, None),
    (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", "refused", 400, "context_length_exceeded"),
    (400, "invalid_request_error", "Your credit balance is too low to access the API", "credentials", 502, "provider_credentials"),
    (401, "authentication_error", "invalid x-api-key", "credentials", 502, "provider_credentials"),
    (402, "billing_error", "pay", "credentials", 502, "provider_credentials"),
    (403, "permission_error", "not you", "credentials", 502, "provider_credentials"),
    (404, "not_found_error", "model: claude-x", "refused", 404, "model_not_found"),
    (413, "request_too_large", "big", "refused", 413, "request_too_large"),
    (429, "rate_limit_error", "slow", "throttled", 429, "rate_limit_exceeded"),
    (500, "api_error", "oops", "failed", 502, "upstream_error"),
    (504, "timeout_error", "slow", "failed", 504, "upstream_timeout"),
    (529, "overloaded_error", "busy", "failed", 503, "upstream_overloaded"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "kind", "message", "failure", "client", "code"), ERRORS)
def test_errors(status: int, kind: str, message: str, failure: str, client: int, code: str | None) -> None:
    body = json.dumps(
        {"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"}
    ).encode()
    found = codec().refuse(status, {}, body, now=0)
    assert (found.failure.kind, found.error.status, found.error.code) == (failure, client, code)
    assert (message in found.error.message) == (failure in ("refused", "throttled"))
    assert codec().refuse(status, {}, b"<html>", now=0).failure.kind in (failure, "refused")


def test_limits_are_told_as_openai_tells_them() -> None:
    headers = {
        "anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "1970-01-01T00:01:40Z", "anthropic-ratelimit-tokens-remaining": "9",
    }  # fmt: skip
    found = codec().refuse(429, headers, b"{}", now=90.5)
    assert found.failure.retry_after == pytest.approx(9.5)
    assert found.error.headers == {
        "x-ratelimit-limit-requests": "50", "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "9.5s", "x-ratelimit-remaining-tokens": "9", "retry-after": "10",
        "retry-after-ms": "9500",
    }  # fmt: skip
    assert codec().refuse(429, {**headers, "retry-after": "3"}, b"{}", now=90).failure.retry_after == 3


PAGE_FOUND = {"type": "web_search_result", "url": "https://b.de", "title": "B", "encrypted_content": "RQ==", "page_age": None}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [PAGE_FOUND]}
FAILED = {"type": "web_search_tool_result", "tool_use_id": "s2", "content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}}
SERVED = [
    start(),
    *block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "hm"}, {"type": "signature_delta", "signature": "sig"}),
    *block(1, {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}, {"type": "input_json_delta", "partial_json": ""},
           {"type": "input_json_delta", "partial_json": '{"query": "Gr'}, {"type": "input_json_delta", "partial_json": 'üße"}'}),
    *block(2, FOUND),
    *block(3, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Grüße "}),
    *block(4, {"type": "mcp_tool_use", "id": "m", "name": "n", "server_name": "x", "input": {"a": 1}}),
    *block(5, {"type": "mcp_tool_result", "tool_use_id": "m", "is_error": False, "content": [{"type": "text", "text": "t"}]}),
    *block(6, {"type": "server_tool_use", "id": "s2", "name": "web_search", "input": {}}),
    *block(7, FAILED),
    *block(8, {"type": "text", "text": ""}, {"type": "text_delta", "text": "da"}),
    {"type": "message_delta", "delta": {"stop_reason": "pause_turn", "stop_sequence": None}, "usage": {"output_tokens": 7, "server_tool_use": {"web_search_requests": 2}}},
    {"type": "message_stop"},
]  # fmt: skip
RAN_THERE = [
    {"start_index": 0, "thoughts": 1, "block": {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "Grüße"}}},
    {"start_index": 0, "thoughts": 1, "block": FOUND},
    *({"start_index": 6, "thoughts": 1, "block": SERVED[at]["content_block"]} for at in (15, 17, 19, 21)),
]  # fmt: skip


def test_what_ran_at_anthropic_however_the_stream_is_cut() -> None:
    raw = named(SERVED)
    for pieces in ([raw], [bytes([byte]) for byte in raw], [raw[at : at + 37] for at in range(0, len(raw), 37)]):
        chunks = read(codec().stream(), pieces)
        message = told(chunks)["choices"][0]["message"]
        assert (message["content"], message["paused"], chunks[-1].usage.searches) == ("Grüße da", True, 2)  # type: ignore[union-attr]
        assert message["server_blocks"] == RAN_THERE
    for cut in range(0, len(raw) - 1, 7):
        with pytest.raises(AttemptFailed):
            read(codec().stream(), [raw[:cut]])


@pytest.mark.parametrize("junk", ["{not json", "[1]", "7"])
def test_what_was_asked_of_a_tool_there_is_an_object_or_the_answer_is_broken(junk: str) -> None:
    bad = block(0, {"type": "server_tool_use", "id": "s", "name": "x"}, {"type": "input_json_delta", "partial_json": junk})
    decoder = codec().stream()
    decoder.feed(named([start(), *bad]))
    assert decoder.problem is not None and decoder.problem.failure.kind == "failed"


@pytest.mark.parametrize("junk", [3, "x", [3], [{"block": 3}], [{"start_index": "a", "block": {"type": "text"}}], {"block": {}}])
def test_what_clients_send_back_may_be_junk(junk: Any) -> None:
    kept = {"role": "assistant", "content": "a", "server_blocks": junk}
    sent = codec().encode({"messages": [{"role": "user", "content": "hi"}, kept]}, "claude-sonnet-4-5", stream=False)
    assert json.loads(sent.body)["messages"][1]["content"] == [{"type": "text", "text": "a"}]
    for hints in (junk, {"server_tools": junk}, {"server_tools": [{"at": "x"}, {"tool": {}}]}):
        codec().encode({"messages": [{"role": "user", "content": "hi"}], "anthropic": hints}, "claude-sonnet-4-5", stream=False)
