"""Compatible vendors, each on fixtures in the shape of its documentation: what a client gets is OpenAI's."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.answer import Chunk
from gateway.protocol.assemble import assemble
from gateway.providers import AzureProvider, OpenAIProvider
from gateway.providers.codec import AttemptFailed
from gateway.providers.openai.codec import OpenAICodec
from gateway.providers.openai.vendor_answers import BROKEN_OFF, Called, CallIndexes, mend, usual


def codec(profile: str) -> OpenAICodec:
    return OpenAIProvider(api_key="k", profile=profile).build(profile, "")


def whole(profile: str, message: dict[str, Any], **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    data = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **more}
    return codec(profile).decode(200, {}, json.dumps(data).encode(), now=0).data


def streamed(
    made: OpenAICodec, events: list[Any], *, end: str = "data: [DONE]\n\n", piece: int = 7
) -> list[Chunk]:
    """The chunks of a stream that arrives in small pieces. A text among the events is a line of its own."""
    raw = "".join(one if isinstance(one, str) else f"data: {json.dumps(one)}\n\n" for one in events) + end
    stream, chunks, data = made.stream(), [], raw.encode()
    for at in range(0, len(data), piece):
        chunks += stream.feed(data[at : at + piece])
        if stream.problem is not None:
            raise stream.problem
    return chunks + stream.finish()


def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **more,
    }


def answer(chunks: list[Chunk]) -> dict[str, Any]:
    data = assemble(one.data for one in chunks)
    found: dict[str, Any] = data["choices"][0]["message"]
    return found


def test_deepseek_thoughts_and_cached_tokens() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "prompt_cache_hit_tokens": 64,
             "prompt_cache_miss_tokens": 36, "completion_tokens_details": {"reasoning_tokens": 12}}  # fmt: skip
    data = whole("deepseek", {"content": "4", "reasoning_content": "2+2"}, usage=usage)
    assert data["choices"][0]["message"]["reasoning_content"] == "2+2"
    assert data["usage"]["prompt_tokens_details"]["cached_tokens"] == 64
    assert data["usage"]["completion_tokens"] == 20  # thoughts are inside already
    events = [event({"role": "assistant", "content": None, "reasoning_content": ""}),
              event({"content": None, "reasoning_content": "2+"}), event({"content": None, "reasoning_content": "2"}),
              event({"content": "4", "reasoning_content": None}), event({"content": ""}, "stop", usage=usage)]  # fmt: skip
    chunks = streamed(codec("deepseek"), events)
    assert (answer(chunks)["content"], answer(chunks)["reasoning_content"]) == ("4", "2+2")
    found = [one.usage for one in chunks if one.usage is not None]
    assert (found[-1].cached, found[-1].reasoning) == (64, 12)


def test_xai_counts_thoughts_beside_the_completion() -> None:
    usage = {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 142,
             "completion_tokens_details": {"reasoning_tokens": 101}}  # fmt: skip
    data = whole("xai", {"content": "x"}, usage=usage)
    assert data["usage"]["completion_tokens"] == 110
    assert (
        data["usage"]["total_tokens"] == data["usage"]["prompt_tokens"] + data["usage"]["completion_tokens"]
    )


def test_groq_usage_stands_in_a_field_of_its_own_when_streamed() -> None:
    usage = {"prompt_tokens": 18, "completion_tokens": 3, "total_tokens": 21, "queue_time": 0.02}
    events = [event({"role": "assistant", "content": ""}, x_groq={"id": "req_1"}), event({"content": "hi"}),
              event({}, "stop", x_groq={"id": "req_1", "usage": usage})]  # fmt: skip
    chunks = streamed(codec("groq"), events)
    assert [one.usage.total for one in chunks if one.usage is not None] == [21]


@pytest.mark.parametrize("profile", ["groq", "openrouter", "cerebras", "vllm", "ollama"])
def test_thoughts_have_one_name(profile: str) -> None:
    data = whole(profile, {"content": "4", "reasoning": "2+2"})
    assert data["choices"][0]["message"]["reasoning_content"] == "2+2"
    assert "reasoning" not in data["choices"][0]["message"]
    events = [event({"role": "assistant", "content": "", "reasoning": "2+"}), event({"content": "", "reasoning": "2"}),
              event({"content": "4"}), event({}, "stop")]  # fmt: skip
    assert answer(streamed(codec(profile), events))["reasoning_content"] == "2+2"


def test_thoughts_go_back_under_the_vendors_name_and_to_nobody_who_refuses_them() -> None:
    turn = {
        "role": "assistant",
        "content": "4",
        "reasoning_content": "2+2",
        "thinking_blocks": [{"type": "thinking"}],
    }
    body = {"messages": [{"role": "user", "content": "2+2?"}, turn, {"role": "user", "content": "sure?"}]}

    def back(profile: str) -> dict[str, Any]:
        sent = json.loads(codec(profile).encode(body, "m", stream=False).body)
        found: dict[str, Any] = sent["messages"][1]
        return found

    assert back("openrouter") == {"role": "assistant", "content": "4", "reasoning": "2+2"}
    assert back("deepseek") == {"role": "assistant", "content": "4", "reasoning_content": "2+2"}
    for profile in ("openai", "mistral", "perplexity", "together"):
        assert back(profile) == {"role": "assistant", "content": "4"}
    own = OpenAIProvider(base_url="http://127.0.0.1:1/v1").build("own", "")
    assert json.loads(own.encode(body, "m", stream=False).body)["messages"][1] == turn


def test_openrouter_pings_and_errors_inside_the_stream() -> None:
    events = [": OPENROUTER PROCESSING\n\n", event({"role": "assistant", "content": "a"}),
              ": OPENROUTER PROCESSING\n\n", event({"content": "b"}), event({"content": ""}, "stop")]  # fmt: skip
    assert answer(streamed(codec("openrouter"), events))["content"] == "ab"
    broken = [
        event({"content": "a"}),
        event({"content": ""}, "error", error={"code": 429, "message": "slow down"}),
    ]
    with pytest.raises(AttemptFailed) as told:
        streamed(codec("openrouter"), broken)
    assert (told.value.failure.kind, told.value.error.code) == ("throttled", "rate_limit_exceeded")
    with pytest.raises(AttemptFailed) as told:
        codec("openrouter").decode(
            200, {}, b'{"error": {"code": 502, "message": "Provider returned error"}}', now=0
        )
    assert (told.value.failure.kind, told.value.error.status) == ("failed", 502)


def test_openrouter_moderation_is_no_trouble_with_our_key() -> None:
    body = {"error": {"code": 403, "message": "openai/gpt-4o requires moderation on OpenAI. Your input was flagged",
                      "metadata": {"reasons": ["violence"]}}}  # fmt: skip
    problem = codec("openrouter").refuse(403, {}, json.dumps(body).encode(), now=0)
    assert (problem.failure.kind, problem.error.code) == ("refused", "content_filter")
    ours = codec("openrouter").refuse(
        403, {}, b'{"error": {"code": 403, "message": "Key limit exceeded"}}', now=0
    )
    assert ours.failure.kind == "credentials"


def test_mistral_wants_its_own_form() -> None:
    call = {"id": "call_abc-123", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = {
        "messages": [
            {"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "refusal": None, "annotations": [], "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_abc-123", "content": "7"},
        ],
        "max_completion_tokens": 9, "seed": 4, "store": False, "user": "u", "logprobs": False,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    sent = json.loads(codec("mistral").encode(body, "m", stream=True).body)
    assert (sent["max_tokens"], sent["random_seed"], sent["messages"][0]["role"]) == (9, 4, "system")
    assert not {"max_completion_tokens", "seed", "store", "user", "logprobs", "stream_options"} & sent.keys()
    called, answered = sent["messages"][2], sent["messages"][3]
    assert called.keys() == {"role", "content", "tool_calls"}
    assert called["tool_calls"][0]["id"] == answered["tool_call_id"]
    assert answered["tool_call_id"].isalnum() and len(answered["tool_call_id"]) == 9
    assert body["messages"][2]["tool_calls"][0]["id"] == "call_abc-123"  # type: ignore[index]  # not changed in place


def test_mistral_thoughts_are_parts_of_its_content() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "4"},
    ]
    message = whole("mistral", {"content": parts})["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("4", "hm")
    events = [
        event({"role": "assistant", "content": parts[:1]}),
        event({"content": "4"}),
        event({"content": ""}, "stop"),
    ]
    told = answer(streamed(codec("mistral"), events))
    assert (told["content"], told["reasoning_content"]) == ("4", "hm")


@pytest.mark.parametrize(
    ("profile", "status", "body", "code", "param"),
    [("mistral", 400, {"object": "error", "message": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length", "type": "invalid_request_error", "code": "3051"}, "context_length_exceeded", "messages"),
     ("mistral", 422, {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "foo"], "msg": "Extra inputs are not permitted"}]}}, None, "foo"),
     ("vllm", 400, {"object": "error", "message": "This model's maximum context length is 4096 tokens. However, you requested 5000", "type": "BadRequestError", "param": None, "code": 400}, "context_length_exceeded", "messages"),
     ("vllm", 400, {"error": {"message": "max_tokens must be at least 1", "type": "BadRequestError", "param": "max_tokens", "code": 400}}, None, "max_tokens"),
     ("llamacpp", 400, {"error": {"code": 400, "message": "the request exceeds the available context size, try increasing it", "type": "exceed_context_size_error"}}, "context_length_exceeded", "messages"),
     ("sglang", 400, {"object": "error", "message": "The input (9000 tokens) is longer than the model's context length (8192 tokens).", "type": "BadRequest", "code": 400}, "context_length_exceeded", "messages"),
     ("xai", 400, {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 131072 but the request contains 200000 tokens."}, "context_length_exceeded", "messages"),
     ("fireworks", 400, {"error": {"object": "error", "type": "invalid_request_error", "code": "invalid_request_error", "message": "The prompt is too long: 20000, model maximum context length: 16384"}}, "context_length_exceeded", "messages"),
     ("deepseek", 400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error", "param": None, "code": "invalid_request_error"}}, "content_filter", None),
     ("openai", 400, {"error": {"message": "Invalid prompt: your prompt was flagged as potentially violating our usage policy.", "type": "invalid_request_error", "param": None, "code": "invalid_prompt"}}, "content_filter", None),
     ("openrouter", 400, {"error": {"code": 400, "message": "This endpoint's maximum context length is 8192 tokens."}}, "context_length_exceeded", "messages"),
     ("openai", 400, {"error": {"message": "Unknown parameter", "type": "invalid_request_error", "param": "foo", "code": "unknown_parameter"}}, "unknown_parameter", "foo")],
)  # fmt: skip
def test_errors_have_one_shape_and_codes_that_agents_know(
    profile: str, status: int, body: dict[str, Any], code: str | None, param: str | None
) -> None:
    problem = codec(profile).refuse(status, {}, json.dumps(body).encode(), now=0)
    assert problem.failure.kind == "refused"
    assert problem.error.status == status
    assert (problem.error.code, problem.error.param) == (code, param)


def test_waits_and_limits_are_passed_on() -> None:
    headers = {"retry-after-ms": "1500", "retry-after": "60", "x-ratelimit-remaining-requests": "0",
               "x-ratelimit-reset-requests": "1s", "x-internal": "no"}  # fmt: skip
    azure = AzureProvider(base_url="https://x.openai.azure.com", api_key="k").build("azure", "")
    problem = azure.refuse(
        429, headers, b'{"error": {"code": "429", "message": "Requests to the API have exceeded"}}', now=0
    )
    assert (problem.failure.kind, problem.failure.retry_after) == ("throttled", 1.5)
    assert problem.error.headers["x-ratelimit-reset-requests"] == "1s"
    assert (problem.error.headers["retry-after"], problem.error.headers["retry-after-ms"]) == ("2", "1500")
    assert "x-internal" not in problem.error.headers
    assert problem.error.code == "rate_limit_exceeded"


def test_azure_filters() -> None:
    azure = AzureProvider(base_url="https://x.openai.azure.com", api_key="k").build("azure", "")
    first = {"id": "", "object": "", "created": 0, "model": "", "choices": [],
             "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]}  # fmt: skip
    scored = event({"content": "hi"})
    scored["choices"][0]["content_filter_results"] = {"hate": {"filtered": False, "severity": "safe"}}
    chunks = streamed(azure, [first, event({"role": "assistant", "content": ""}), scored, event({}, "stop")])
    assert answer(chunks)["content"] == "hi"
    body = {"error": {"message": "The response was filtered due to the prompt triggering Azure OpenAI's content "
                      "management policy.", "type": None, "param": "prompt", "code": "content_filter", "status": 400,
                      "innererror": {"code": "ResponsibleAIPolicyViolation"}}}  # fmt: skip
    problem = azure.refuse(400, {}, json.dumps(body).encode(), now=0)
    assert (problem.failure.kind, problem.error.code, problem.error.param) == (
        "refused",
        "content_filter",
        "prompt",
    )


def test_perplexity_pages_become_annotations() -> None:
    pages = [
        {"title": "One", "url": "https://one.example", "date": None},
        {"title": "Two", "url": "https://two.example"},
    ]
    cited = [one["url"] for one in pages]
    data = whole("perplexity", {"content": "Yes[2], and no[1]."}, citations=cited, search_results=pages)
    notes = data["choices"][0]["message"]["annotations"]
    assert [(one["url_citation"]["url"], one["url_citation"]["title"]) for one in notes] == [
        ("https://two.example", "Two"), ("https://one.example", "One")
    ]  # fmt: skip
    assert (
        "Yes[2], and no[1]."[notes[0]["url_citation"]["start_index"] : notes[0]["url_citation"]["end_index"]]
        == "[2]"
    )


def test_perplexity_streams_say_everything_again_and_end_without_a_mark() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
    said, events = "", []
    for text in ("Yes", "[1]"):
        said += text
        one = event({"role": "assistant", "content": text}, usage=usage, citations=["https://one.example"])
        one["choices"][0]["message"] = {"role": "assistant", "content": said}
        events.append(one)
    last = event(
        {"role": "assistant", "content": ""},
        "stop",
        usage={**usage, "completion_tokens": 2, "total_tokens": 9},
    )
    chunks = streamed(codec("perplexity"), [*events, last], end="")
    assert answer(chunks)["content"] == "Yes[1]"
    assert answer(chunks)["annotations"][0]["url_citation"]["url"] == "https://one.example"
    assert all("message" not in one.data["choices"][0] for one in chunks)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total == 9
    with pytest.raises(AttemptFailed):
        streamed(codec("perplexity"), events, end="")  # cut: no finish reason was seen
    with pytest.raises(AttemptFailed):
        streamed(codec("openai"), [event({"content": "a"}), event({}, "stop")], end="")


@pytest.mark.parametrize(
    ("profile", "body", "param"),
    [("groq", {"n": 2}, "n"), ("groq", {"logprobs": True}, "logprobs"), ("deepseek", {"n": 3}, "n"),
     ("perplexity", {"logprobs": True}, "logprobs"),
     ("cerebras", {"frequency_penalty": 0.5}, "frequency_penalty"), ("sambanova", {"n": 2}, "n"),
     ("mistral", {"logit_bias": {"1": 5}}, "logit_bias"), ("ollama", {"tool_choice": "required"}, "tool_choice"),
     ("lmstudio", {"n": 2}, "n")],
)  # fmt: skip
def test_what_a_vendor_lacks_is_refused_by_name(profile: str, body: dict[str, Any], param: str) -> None:
    request = {"messages": [{"role": "user", "content": "hi"}], **body}
    with pytest.raises(AttemptFailed) as told:
        codec(profile).encode(request, "m", stream=False)
    assert (told.value.failure.kind, told.value.error.param) == ("unsupported", param)
    assert profile in told.value.error.message
    loose = OpenAIProvider(api_key="k", profile=profile, drop_params=True).build(profile, "")
    assert param not in json.loads(loose.encode(request, "m", stream=False).body)


@pytest.mark.parametrize(
    "profile", ["together", "fireworks", "nvidia", "sambanova", "lmstudio", "ollama", "deepseek"]
)
def test_the_token_limit_has_the_name_that_the_vendor_reads(profile: str) -> None:
    body = {"messages": [{"role": "developer", "content": "x"}], "max_completion_tokens": 5, "n": 1}
    sent = json.loads(codec(profile).encode(body, "m", stream=False).body)
    assert sent["max_tokens"] == 5
    assert "max_completion_tokens" not in sent
    assert sent["messages"][0]["role"] == "system"


def test_calls_have_indexes_and_ids_whatever_the_vendor_counts() -> None:
    def called(**call: Any) -> dict[str, Any]:
        return event({"tool_calls": [call]})

    def function(name: str | None, arguments: str) -> dict[str, Any]:
        return {"arguments": arguments, **({"name": name} if name else {})}

    all_zero = [called(index=0, id="a", type="function", function=function("f", "{}")),
                called(index=0, id="b", type="function", function=function("g", "{}")), event({}, "tool_calls")]  # fmt: skip
    calls = answer(streamed(codec("ollama"), all_zero))["tool_calls"]
    assert [(one["id"], one["function"]["name"]) for one in calls] == [("a", "f"), ("b", "g")]
    bare = [event({"tool_calls": [{"function": function("f", '{"x":')}, {"index": 1, "function": function("g", "{}")}]}),
            called(index=0, function=function(None, "1}")), event({}, "tool_calls")]  # fmt: skip
    chunks = streamed(codec("llamacpp"), bare)
    calls = answer(chunks)["tool_calls"]
    assert [one["function"]["arguments"] for one in calls] == ['{"x":1}', "{}"]
    assert len({one["id"] for one in calls}) == 2 and all(one["id"] for one in calls)
    usual = [called(index=0, id="a", type="function", function=function("f", "")), called(index=0, function=function(None, "{")),
             called(index=1, id="b", type="function", function=function("g", "{}")), called(index=0, function=function(None, "}")),
             event({}, "tool_calls")]  # fmt: skip
    seen = [one.data for one in streamed(codec("vllm"), usual)]
    assert seen == usual
    alone = whole("sglang", {"content": None, "tool_calls": [{"function": function("f", "{}")}]})
    assert alone["choices"][0]["message"]["tool_calls"][0]["id"]


@pytest.mark.parametrize(
    ("profile", "field", "value"),
    [("cerebras", "time_info", {"total_time": 0.1}), ("llamacpp", "timings", {"predicted_per_second": 50.0}),
     ("sambanova", "system_fingerprint", "fastcoe"), ("nvidia", "nvext", {}), ("together", "prompt", []),
     ("lmstudio", "stats", {"tokens_per_second": 3}), ("fireworks", "perf_metrics", {})],
)  # fmt: skip
def test_what_a_vendor_adds_reaches_the_client(profile: str, field: str, value: Any) -> None:
    assert whole(profile, {"content": "x"}, **{field: value})[field] == value
    assert (
        streamed(codec(profile), [event({"content": "x"}, **{field: value}), event({}, "stop")])[0].data[
            field
        ]
        == value
    )


@pytest.mark.parametrize(
    "profile", ["openai", "groq", "together", "fireworks", "deepseek", "xai", "openrouter", "mistral", "perplexity", "cerebras",
                "sambanova", "nvidia", "vllm", "sglang", "llamacpp", "lmstudio", "ollama"],
)  # fmt: skip
def test_tools_images_usage_and_errors_of_every_vendor(profile: str) -> None:
    """What all of them share: a round of tools, an image, usage, both kinds of errors, any cutting of the bytes."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    body = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, image]}],
        "temperature": 0.5,
    }
    assert json.loads(codec(profile).encode(body, "m", stream=False).body)["messages"] == body["messages"]
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    call = {
        "index": 0,
        "id": "abcdefghi",
        "type": "function",
        "function": {"name": "f", "arguments": '{"a":1}'},
    }
    events = [event({"role": "assistant", "content": ""}), event({"content": "hé"}), event({"tool_calls": [call]}),
              event({}, "tool_calls", usage=usage)]  # fmt: skip
    for piece in (1, 2, 3, 1000):
        chunks = streamed(codec(profile), events, piece=piece)
        assert answer(chunks)["content"] == "hé"
        assert answer(chunks)["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
        assert [one.usage.total for one in chunks if one.usage is not None] == [7]
    assert codec(profile).refuse(401, {}, b"nope", now=0).failure.kind == "credentials"
    assert codec(profile).refuse(503, {}, b"<html>", now=0).failure.kind == "failed"
    assert codec(profile).refuse(429, {"retry-after": "3"}, b"{}", now=0).failure.retry_after == 3.0


def test_the_stop_sequence_that_sglang_matched_has_vllms_name() -> None:
    def ended(met: Any) -> list[dict[str, Any]]:
        data = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop", "matched_stop": met}]}  # fmt: skip
        return [codec("sglang").decode(200, {}, json.dumps(data).encode(), now=0).data,
                *(one.data for one in streamed(codec("sglang"), [event({"content": "4"}), _last(met)])[-1:])]  # fmt: skip

    def _last(met: Any) -> dict[str, Any]:
        data = event({}, "stop")
        return {**data, "choices": [{**data["choices"][0], "matched_stop": met}]}

    assert [one["choices"][0].get("stop_reason") for one in ended("END")] == ["END", "END"]
    for one in ended(151645):  # the token that ends an answer
        assert not {"stop_reason", "matched_stop"} & one["choices"][0].keys()


def plain_chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}  # fmt: skip


@pytest.mark.parametrize(("choice", "reason"), [(None, "tool_calls"), ("auto", "tool_calls"), ("required", "stop"),
                                               ({"type": "function", "function": {"name": "f"}}, "stop")])  # fmt: skip
def test_calls_end_with_tool_calls_but_where_they_were_demanded(choice: Any, reason: str) -> None:
    codec = OpenAIProvider(api_key="k", profile="ollama").build("p", "")
    asked = {"tool_choice": choice}
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    whole = {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [call]}, "finish_reason": "stop"}]}
    answer = codec.decode(200, {}, json.dumps(whole).encode(), now=0, asked=asked)
    assert (answer.finish_reason, answer.data["choices"][0]["finish_reason"]) == (reason, reason)
    chunks = [plain_chunk({"role": "assistant", "content": None, "tool_calls": [{"index": 0, **call}]}), plain_chunk({}, "stop")]
    raw = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks) + b"data: [DONE]\n\n"
    assert codec.stream(asked).feed(raw)[-1].finish_reason == reason


def test_chunks_without_choices_or_with_an_empty_reason_are_openais() -> None:
    codec = OpenAIProvider(api_key="k", profile="together").build("p", "")
    usage = {"id": "c", "choices": None, "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
    chunks = [plain_chunk({"role": "assistant", "content": "hi"}, ""), plain_chunk({}, "stop"), usage]
    raw = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks)
    first, _, last = codec.stream().feed(raw)
    assert first.data["choices"][0]["finish_reason"] is None and not first.finish_reason
    assert last.data["choices"] == [] and last.usage is not None and last.usage.total == 5


@pytest.mark.parametrize(
    ("profile", "reason", "status"),
    [("deepseek", "insufficient_system_resource", 503), ("mistral", "error", 502), ("openrouter", "error", 502)],
)
def test_an_answer_that_its_provider_gave_up_is_a_failure_and_no_answer(profile: str, reason: str, status: int) -> None:
    with pytest.raises(AttemptFailed) as given_up:
        broken = {"index": 0, "message": {"role": "assistant", "content": "Hal"}, "finish_reason": reason}
        data = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [broken]}
        codec(profile).decode(200, {}, json.dumps(data).encode(), now=0)
    assert (given_up.value.failure.kind, given_up.value.error.status) == ("failed", status)
    assert reason in given_up.value.error.message
    stream = codec(profile).stream()
    told = [*stream.feed(f"data: {json.dumps(event({'content': 'Hal'}))}\n\n".encode())]
    with pytest.raises(AttemptFailed):
        stream.feed(f"data: {json.dumps(event({}, reason))}\n\n".encode())
    assert [one.text for one in told] == ["Hal"]


_WORDS = st.sampled_from([None, "", "text", "stop", "eos", "tool_calls", "error", 0, 3, [], {}, ["text"]])
_TOLD = st.dictionaries(
    st.sampled_from(["role", "content", "refusal", "reasoning", "tool_calls", "annotations", "name"]), _WORDS
)
_CHOICE = st.fixed_dictionaries(
    {"delta": _TOLD, "message": _TOLD},
    optional={"index": _WORDS, "finish_reason": _WORDS, "matched_stop": _WORDS, "logprobs": st.none()},
)
_USAGE = st.one_of(
    _WORDS,
    st.dictionaries(st.sampled_from(["prompt_tokens", "prompt_cache_hit_tokens", "total_tokens"]), _WORDS),
    st.fixed_dictionaries(
        {"prompt_tokens": st.just(5), "completion_tokens": st.just(3), "total_tokens": st.just(10)},
        optional={"completion_tokens_details": st.sampled_from([None, {}, {"reasoning_tokens": 2}, "text", [1]])},
    ),
)


@given(choices=st.lists(_CHOICE, max_size=2), usage=_USAGE, part=st.sampled_from(["message", "delta"]))
def test_what_is_taken_for_plain_text_has_nothing_to_mend(
    choices: list[dict[str, Any]], usage: Any, part: str
) -> None:
    other = "delta" if part == "message" else "message"
    for choice in choices:
        choice.pop(other)
    data = {"choices": choices, "usage": usage}
    before = copy.deepcopy(data)
    if usual(data, part):
        mend(data, part)
        CallIndexes().mend(data)
        Called({}).mend(data, part)
        assert data == before
        assert all(one.get("finish_reason") not in BROKEN_OFF for one in choices)


@pytest.mark.parametrize("part", ["message", "delta"])
def test_plain_text_is_taken_for_it(part: str) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 0}}
    for told in ({"role": "assistant", "content": "hello", "refusal": None}, {"content": "hello"}):
        choice = {"index": 0, part: told, "logprobs": None, "finish_reason": "stop"}
        assert usual({"choices": [choice], "usage": usage}, part)
