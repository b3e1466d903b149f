"""Bedrock's dialect: signatures, requests, whole answers, binary streams however cut, errors."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest
from bedrock_wire import codec, delta, event, message, used, wire
from dialects import CALLED, PIXEL, ROUND, WEATHER, read
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from gateway.providers.bedrock.aws import BrokenMessage, Credentials, MessageParser, signed_headers
from gateway.providers.codec import AttemptFailed

HI = [{"role": "user", "content": "hi"}]
HI_WIRE = [{"role": "user", "content": [{"text": "hi"}]}]
CLAUDE, NOVA = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-pro-v1:0"
NEW = "anthropic.claude-opus-5"
SPEC = {"toolSpec": {"name": "weather", "description": "Looks the weather up.",
                     "inputSchema": {"json": WEATHER["function"]["parameters"]}}}  # fmt: skip


def test_the_signature_of_amazons_own_example() -> None:
    """The worked example of the IAM guide: ListUsers at 2015-08-30T12:36:00Z."""
    found = signed_headers(
        Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        method="GET",
        path="/",
        query="Action=ListUsers&Version=2010-05-08",
        headers={
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "host": "iam.amazonaws.com",
        },
        body=b"",
        region="us-east-1",
        service="iam",
        now=1_440_938_160.0,
    )
    assert found["x-amz-date"] == "20150830T123600Z"
    assert found["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )


@pytest.mark.parametrize(
    ("model", "place"),
    [(CLAUDE, "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1:0/converse"),
     ("arn:aws:bedrock:eu-central-1:1:inference-profile/x", "/model/arn:aws:bedrock:eu-central-1:1:inference-profile%2Fx/converse")],
)  # fmt: skip
def test_the_address_goes_over_the_wire_as_it_was_signed(model: str, place: str) -> None:
    sent = codec(session_token="token").encode({"messages": HI}, model, stream=False)
    assert sent.url == f"https://bedrock-runtime.eu-central-1.amazonaws.com{place}"
    assert URL(sent.url).raw_path == place
    assert sent.headers["x-amz-security-token"] == "token"
    names = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,"
    assert names in sent.headers["authorization"]
    again = signed_headers(
        Credentials("AKID", "hidden", "token"), method="POST", path=URL(sent.url).raw_path,
        headers={"content-type": "application/json", "host": "bedrock-runtime.eu-central-1.amazonaws.com"},
        body=sent.body, region="eu-central-1", service="bedrock", now=1_440_938_160.0,
    )  # fmt: skip
    assert again == sent.headers
    assert "hidden" not in json.dumps(sent.headers)


def test_a_bedrock_key_needs_no_signature() -> None:
    sent = codec(api_key="bedrock-key").encode({"messages": HI}, NOVA, stream=True)
    assert sent.headers["authorization"] == "Bearer bedrock-key"
    assert sent.url.endswith("/converse-stream")


@pytest.mark.parametrize("model", ["../x", "a/../b", "", "x?y", "a b", "x#"])
def test_a_model_cannot_leave_its_place_in_the_address(model: str) -> None:
    with pytest.raises(AttemptFailed) as caught:
        codec().encode({"messages": HI}, model, stream=False)
    assert caught.value.error.param == "model"


SCHEMA = {"type": "object", "properties": {}}
GOLDEN: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "settings": (
        NOVA, {"max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "stop": ["a"]},
        {"inferenceConfig": {"maxTokens": 7, "temperature": 0.5, "topP": 0.9, "stopSequences": ["a"]}},
    ),
    "hints that change no answer": (NOVA, {"store": True, "metadata": {"a": "b"}, "user": "u", "service_tier": "auto"}, {}),
    "tier and the provider's own": (
        NOVA, {"service_tier": "flex", "guardrailConfig": {"guardrailIdentifier": "g"}, "messages": HI},
        {"serviceTier": {"type": "flex"}, "guardrailConfig": {"guardrailIdentifier": "g"}},
    ),
    "instructions": (
        NOVA, {"messages": [{"role": "developer", "content": "a"}, *HI, {"role": "system", "content": "b"}]},
        {"system": [{"text": "a"}, {"text": "b"}]},
    ),
    "instructions with a file": (
        NOVA,
        {"messages": [{"role": "system", "content": [
            {"type": "text", "text": "Answer by this."},
            {"type": "file", "file": {"filename": "a", "file_data": "data:application/pdf;base64,aGk="}}]}, *HI]},
        {"system": [{"text": "Answer by this."}],
         "messages": [{"role": "user", "content": [{"document": {"format": "pdf", "source": {"bytes": "aGk="}, "name": "a"}}, {"text": "hi"}]}]},
    ),
    "instructions alone": (NOVA, {"messages": [{"role": "system", "content": "hi"}]}, {}),
    "a tool": (NOVA, {"tools": [WEATHER]}, {"toolConfig": {"tools": [SPEC]}}),
    "a tool that must be used": (
        NOVA, {"tools": [WEATHER], "tool_choice": "required"}, {"toolConfig": {"tools": [SPEC], "toolChoice": {"any": {}}}},
    ),
    "one tool": (
        NOVA, {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"toolConfig": {"tools": [SPEC], "toolChoice": {"tool": {"name": "weather"}}}},
    ),
    "no tool": (NOVA, {"tools": [WEATHER], "tool_choice": "none"}, {}),
    "a schema": (
        CLAUDE, {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
        {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"name": "x", "schema": json.dumps(SCHEMA)}}}}},
    ),
    "Claude's budget": (
        CLAUDE, {"reasoning_effort": "low"},
        {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2048}}, "inferenceConfig": {"maxTokens": 10240}},
    ),
    "Claude's budget in the client's limit": (
        CLAUDE, {"reasoning_effort": "high", "max_tokens": 4000},
        {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2000}}, "inferenceConfig": {"maxTokens": 4000}},
    ),
    "Claude's own scale": (
        NEW, {"reasoning_effort": "high"},
        {"additionalModelRequestFields": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_requests(name: str) -> None:
    model, body, expected = GOLDEN[name]
    assert wire(body, model) == {"messages": HI_WIRE, **expected}


def test_a_round_of_tools_images_and_files() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {
            "type": "file",
            "file": {"filename": "a_b.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
        },
    ]
    messages = [ROUND[0], {**CALLED, "thinking_blocks": [thought, {"type": "redacted_thinking", "data": "eA=="}]}, *ROUND[2:],
                {"role": "user", "content": content}]  # fmt: skip
    assert wire({"messages": messages}, CLAUDE)["messages"] == [
        {"role": "user", "content": [{"text": "Bonn and Köln?"}]},
        {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
            {"reasoningContent": {"redactedContent": "eA=="}},
            {"toolUse": {"toolUseId": "call_1", "name": "weather", "input": {"city": "Bonn"}}},
            {"toolUse": {"toolUseId": "call_2", "name": "weather", "input": {"city": "Köln"}}},
        ]},
        {"role": "user", "content": [
            {"toolResult": {"toolUseId": "call_1", "content": [{"text": '{"sky": "blue"}'}]}},
            {"toolResult": {"toolUseId": "call_2", "content": [{"text": "rain"}]}},
            {"image": {"format": "png", "source": {"bytes": PIXEL}}},
            {"document": {"format": "pdf", "name": "a b pdf", "source": {"bytes": "JVBERi0="}}},
        ]},
    ]  # fmt: skip
    kept = wire({"messages": messages[:-1], "reasoning_effort": "low"}, CLAUDE)
    assert kept["additionalModelRequestFields"]["thinking"]["type"] == "enabled"
    assert "additionalModelRequestFields" not in wire({"messages": ROUND, "reasoning_effort": "low"}, CLAUDE)


IMAGE = {
    "messages": [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}],
        }
    ]
}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "n": (NOVA, {"n": 2}, "n"),
    "seed": (NOVA, {"seed": 1}, "seed"),
    "hot": (NOVA, {"temperature": 1.5}, "temperature"),
    "a model that samples by itself": (NEW, {"temperature": 0}, "temperature"),
    "a model that does not think": (NOVA, {"reasoning_effort": "low"}, "reasoning_effort"),
    "json without a schema": (NOVA, {"response_format": {"type": "json_object"}}, "response_format"),
    "a tier": (NOVA, {"service_tier": "scale"}, "service_tier"),
    "tools forbidden too late": (NOVA, {"messages": ROUND, "tools": [WEATHER], "tool_choice": "none"}, "tool_choice"),
    "an address that nobody opens": (NOVA, IMAGE, "messages[0].content[0].image_url"),
    "audio": (NOVA, {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_bedrock_cannot_do_is_refused_by_name_or_dropped_on_demand(name: str) -> None:
    model, body, param = REFUSED[name]
    with pytest.raises(AttemptFailed) as caught:
        wire(body, model)
    expected = "unsupported" if caught.value.error.code == "unsupported_parameter" else "refused"
    assert (caught.value.failure.kind, caught.value.error.param) == (expected, param)
    assert "aws" in caught.value.error.message
    if param.startswith("messages"):
        with pytest.raises(AttemptFailed):
            wire(body, model, drop_params=True)
    else:
        assert wire(body, model, drop_params=True)["messages"]


USAGE = {
    "inputTokens": 10,
    "outputTokens": 7,
    "totalTokens": 42,
    "cacheReadInputTokens": 20,
    "cacheWriteInputTokens": 5,
}
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"text": "Grüße, "}, {"text": "Bonn"},
        {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Bonn"}}},
        {"toolUse": {"toolUseId": "t2", "name": "now", "input": {}}},
    ]}},
    "stopReason": "tool_use", "usage": USAGE, "metrics": {"latencyMs": 1},
}  # fmt: skip
EXPECTED = {
    "role": "assistant", "content": "Grüße, Bonn", "refusal": None, "annotations": [], "reasoning_content": "hm",
    "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"}],
    "tool_calls": [
        {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}},
        {"id": "t2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ],
}  # fmt: skip


def counted(usage: Any) -> tuple[int, int, int]:
    return usage.prompt, usage.completion, usage.cached


def test_a_whole_answer() -> None:
    answer = codec().decode(200, {"x-amzn-requestid": "r"}, json.dumps(ANSWER).encode(), now=3)
    assert answer.data["choices"] == [
        {"index": 0, "message": EXPECTED, "logprobs": None, "finish_reason": "tool_calls"}
    ]
    assert (answer.data["id"], answer.data["created"], counted(answer.usage)) == ("r", 3, (35, 7, 20))


@pytest.mark.parametrize(
    ("stop", "finish"),
    [("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("guardrail_intervened", "content_filter"),
     ("content_filtered", "content_filter"), ("model_context_window_exceeded", "length"), ("born_later", "stop")],
)  # fmt: skip
def test_stop_reasons(stop: str, finish: str) -> None:
    answer = codec().decode(200, {}, json.dumps({**ANSWER, "stopReason": stop}).encode(), now=0)
    assert answer.finish_reason == finish


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"output": {}}',
        json.dumps({**ANSWER, "stopReason": "malformed_tool_use"}).encode(),
    ],
)
def test_nonsense_is_the_providers_failure(body: bytes) -> None:
    with pytest.raises(AttemptFailed) as caught:
        codec().decode(200, {}, body, now=0)
    assert caught.value.failure.kind == "failed"


MESSAGES = [
    event("messageStart", role="assistant"),
    delta(0, reasoningContent={"text": "h"}), delta(0, reasoningContent={"text": "m"}),
    delta(0, reasoningContent={"signature": "sig"}), event("contentBlockStop", contentBlockIndex=0),
    delta(1, text="Grüße"), delta(1, text=", "), event("contentBlockStop", contentBlockIndex=1),
    delta(2, text="Bonn"), event("contentBlockStop", contentBlockIndex=2),
    used(3, "t1", "weather"), delta(3, toolUse={"input": '{"city":'}), delta(3, toolUse={"input": '"Bonn"}'}),
    event("contentBlockStop", contentBlockIndex=3),
    used(4, "t2", "now"), delta(4, toolUse={"input": ""}), event("contentBlockStop", contentBlockIndex=4),
    event("bornLater", x=1),
    event("messageStop", stopReason="tool_use"),
    event("metadata", usage=USAGE, metrics={"latencyMs": 1}),
]  # fmt: skip
STREAM = b"".join(MESSAGES)


@given(st.integers(0, len(STREAM) - 1), st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_a_flipped_byte_is_never_believed(at: int, flip: int) -> None:
    spoiled = STREAM[:at] + bytes([STREAM[at] ^ flip]) + STREAM[at + 1 :]
    with pytest.raises(AttemptFailed):
        read(codec().stream(), [spoiled])


@pytest.mark.parametrize(
    "junk",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\0" * 12,
        b"data: {}\n\n" * 2,
        struct.pack(">III", 8, 0, zlib.crc32(struct.pack(">II", 8, 0))),
    ],
)
def test_junk_is_no_event_stream(junk: bytes) -> None:
    with pytest.raises(BrokenMessage):
        MessageParser().feed(junk)
    with pytest.raises(AttemptFailed):
        codec().stream().feed(junk)


@pytest.mark.parametrize(
    ("kind", "failure"),
    [("throttlingException", "throttled"), ("validationException", "refused"), ("internalServerException", "failed"),
     ("modelStreamErrorException", "failed"), ("serviceUnavailableException", "failed"), ("bornLater", "failed")],
)  # fmt: skip
def test_exceptions_inside_a_stream(kind: str, failure: str) -> None:
    raw = message(
        {"message": "why"}, exception_type=kind, content_type="application/json", message_type="exception"
    )
    decoder = codec().stream()
    decoder.feed(MESSAGES[0])
    with pytest.raises(AttemptFailed) as caught:
        decoder.feed(raw)
    assert caught.value.failure.kind == failure


ERRORS = [
    (400, "ValidationException", "bad", "refused", 400, None),
    (400, "ValidationException", "Input is too long for requested model.", "refused", 400, "context_length_exceeded"),
    (400, "ValidationException", "The provided model identifier is invalid.", "refused", 400, "model_not_found"),
    (400, "ServiceQuotaExceededException", "quota", "throttled", 429, "rate_limit_exceeded"),
    (403, "AccessDeniedException", "denied", "credentials", 502, "provider_credentials"),
    (400, "ExpiredTokenException", "expired", "credentials", 502, "provider_credentials"),
    (403, "UnrecognizedClientException", "AKID", "credentials", 502, "provider_credentials"),
    (404, "ResourceNotFoundException", "none", "refused", 404, "model_not_found"),
    (408, "ModelTimeoutException", "slow", "failed", 502, "upstream_error"),
    (424, "ModelErrorException", "model broke", "failed", 502, "upstream_error"),
    (429, "ThrottlingException", "slow down", "throttled", 429, "rate_limit_exceeded"),
    (503, "ServiceUnavailableException", "busy", "failed", 503, "upstream_overloaded"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "kind", "text", "failure", "client", "code"), ERRORS)
def test_errors(status: int, kind: str, text: str, failure: str, client: int, code: str | None) -> None:
    headers = {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/"}
    found = codec().refuse(status, headers, json.dumps({"message": text}).encode(), now=0)
    assert (found.failure.kind, found.error.status, found.error.code) == (failure, client, code)
    assert (text in found.error.message) == (failure in ("refused", "throttled"))


def test_what_a_client_marks_to_be_cached_ends_with_a_cache_point_where_the_model_has_them() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    turns = [
        {"role": "system", "content": [{"type": "text", "text": "long rules", **mark}]},
        {"role": "user", "content": [{"type": "text", "text": "a document", **mark}, {"type": "text", "text": "a question"}]},
    ]
    point = {"cachePoint": {"type": "default"}}
    found = wire({"messages": turns}, NOVA)
    assert found["system"] == [{"text": "long rules"}, point]
    assert found["messages"][0]["content"] == [{"text": "a document"}, point, {"text": "a question"}]
    other = wire({"messages": turns}, "meta.llama3-8b-instruct-v1:0")
    assert "cachePoint" not in str(other) and other["system"] == [{"text": "long rules"}]
    alone = wire({"messages": turns[:1]}, NOVA)
    assert alone["messages"][0]["content"] == [{"text": "long rules"}, point] and "system" not in alone


@pytest.mark.parametrize(("asked", "told"), [("END", "END"), (["END", " "], "END"), (["END", "."], "")])
def test_nova_tells_that_a_stop_sequence_was_met_and_not_which(asked: Any, told: str) -> None:
    met = {**ANSWER, "stopReason": "stop_sequence"}
    answer = codec().decode(200, {}, json.dumps(met).encode(), now=0, asked={"stop": asked})
    assert answer.data["choices"][0]["stop_reason"] == told
    ending = [*MESSAGES[:-2], event("messageStop", stopReason="stop_sequence"), MESSAGES[-1]]
    chunks = read(codec().stream({"stop": asked}), [b"".join(ending)])
    assert chunks[-2].data["choices"][0]["stop_reason"] == told
    ended = codec().decode(200, {}, json.dumps({**ANSWER, "stopReason": "end_turn"}).encode(), now=0, asked={"stop": asked})
    assert "stop_reason" not in ended.data["choices"][0]


@pytest.mark.parametrize(
    ("model", "enforced"),
    [("anthropic.claude-3-5-sonnet-20241022-v2:0", False), ("eu.anthropic.claude-sonnet-4-20250514-v1:0", False),
     ("us.anthropic.claude-opus-4-1-20250805-v1:0", False), ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", True),
     ("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-3-7-sonnet-20250219-v1:0", False),
     (NOVA, False), ("meta.llama3-70b-instruct-v1:0", False), ("qwen.qwen3-32b-v1:0", True)],
)  # fmt: skip
def test_what_is_promised_of_a_schema_is_what_is_sent(model: str, enforced: bool) -> None:
    """Where the model does not enforce it, the gateway does, and sends none."""
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    assert codec().enforces(model).schema == ("strict" if enforced else "prompt")
    body = {"messages": [{"role": "user", "content": "x"}], "response_format": form}
    if enforced:
        assert b"textFormat" in codec().encode(body, model, stream=False).body
    else:
        with pytest.raises(AttemptFailed, match="does not enforce"):
            codec().encode(body, model, stream=False)
