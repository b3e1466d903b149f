"""The OpenAI codec against wire fixtures: whole, byte by byte, truncated, with errors inside."""

from __future__ import annotations

import json

import pytest

from gateway.providers import OpenAIProvider
from gateway.providers.codec import AttemptFailed
from gateway.providers.openai.codec import OpenAICodec

BODY = {"model": "task", "messages": [{"role": "user", "content": "hi"}], "born_after_us": {"x": [1]}}
COMPLETION = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello", "refusal": None},
                 "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11,
              "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 1}},
}  # fmt: skip
CHUNKS = [
    {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}], "usage": None},
    {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hé"}, "finish_reason": None}], "usage": None},
    {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None},
    {"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}},
]  # fmt: skip
STREAM = (
    b"".join(b"data: " + json.dumps(c, ensure_ascii=False).encode() + b"\n\n" for c in CHUNKS)
    + b"data: [DONE]\n\n"
)


def codec(**settings: object) -> OpenAICodec:
    return OpenAIProvider(api_key="sk-secret", **settings).build("openai", "")  # type: ignore[arg-type]


def test_unknown_parameters_go_out_untouched_and_only_the_model_changes() -> None:
    sent = codec().encode(BODY, "gpt-4o", stream=False)
    assert json.loads(sent.body) == {**BODY, "model": "gpt-4o"}
    assert sent.url == "https://api.openai.com/v1/chat/completions"
    assert sent.headers["authorization"] == "Bearer sk-secret"


def test_streams_always_ask_for_usage_and_keep_other_options() -> None:
    body = {**BODY, "stream": True, "stream_options": {"include_obfuscation": False}}
    sent = json.loads(codec().encode(body, "m", stream=True).body)
    assert sent["stream"] is True
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert "stream" not in json.loads(codec().encode(body, "m", stream=False).body)


def test_a_vendor_that_does_not_know_stream_usage_is_not_asked() -> None:
    sent = json.loads(codec(profile="mistral").encode({**BODY, "stream": True}, "m", stream=True).body)
    assert "stream_options" not in sent


def test_a_whole_answer() -> None:
    answer = codec().decode(200, {}, json.dumps(COMPLETION).encode(), now=0)
    assert answer.text == "hello"
    assert answer.finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt, answer.usage.cached, answer.usage.reasoning) == (9, 4, 1)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": 1}', b"\xff"]
)
def test_nonsense_is_the_providers_failure(body: bytes) -> None:
    with pytest.raises(AttemptFailed) as caught:
        codec().decode(200, {}, body, now=0)
    assert caught.value.failure.kind == "failed"
    assert caught.value.error.status == 502


@pytest.mark.parametrize(
    ("status", "kind", "client_sees"),
    [(400, "refused", 400), (404, "refused", 404), (422, "refused", 422), (401, "credentials", 502),
     (403, "credentials", 502), (429, "throttled", 429), (500, "failed", 502), (503, "failed", 503), (302, "failed", 502)],
)  # fmt: skip
def test_statuses(status: int, kind: str, client_sees: int) -> None:
    body = json.dumps({"error": {"message": "why", "type": "t", "param": "p", "code": "c"}}).encode()
    with pytest.raises(AttemptFailed) as caught:
        codec().decode(status, {}, body, now=0)
    assert caught.value.failure.kind == kind
    assert caught.value.error.status == client_sees
    if kind == "refused":
        assert (caught.value.error.code, caught.value.error.param, caught.value.error.message) == (
            "c",
            "p",
            "why",
        )
    if kind == "credentials":
        assert "why" not in caught.value.error.message


@pytest.mark.parametrize(
    ("header", "seconds"), [("2", 2.0), ("junk", None), ("1e9", None), ("-3", None), ("nan", None)]
)
def test_retry_after(header: str, seconds: float | None) -> None:
    with pytest.raises(AttemptFailed) as caught:
        codec().decode(429, {"retry-after": header}, b"{}", now=0)
    assert caught.value.failure.retry_after == seconds


def test_a_stream_whole_and_byte_by_byte() -> None:
    for pieces in ([STREAM], [bytes([byte]) for byte in STREAM]):
        decoder = codec().stream()
        chunks = [chunk for piece in pieces for chunk in decoder.feed(piece)]
        assert [chunk.data for chunk in chunks] == CHUNKS
        assert "".join(chunk.text for chunk in chunks) == "hé"
        assert chunks[2].finish_reason == "stop"
        assert chunks[3].usage is not None and chunks[3].usage.prompt == 3
        decoder.finish()
        assert decoder.done


def test_a_stream_cut_anywhere_before_its_end_is_a_failure() -> None:
    for cut in range(len(STREAM) - 1):
        decoder = codec().stream()
        decoder.feed(STREAM[:cut])
        with pytest.raises(AttemptFailed):
            decoder.finish()


@pytest.mark.parametrize("event", [b'{"error": {"message": "overloaded"}}', b"{not json", b"[1]"])
def test_errors_and_junk_inside_a_stream(event: bytes) -> None:
    with pytest.raises(AttemptFailed):
        codec().stream().feed(b"data: " + event + b"\n\n")
