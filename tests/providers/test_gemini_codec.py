"""Gemini's dialect: requests, whole answers, streams however cut, errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dialects import CALLED, PIXEL, ROUND, WEATHER, plain, read, told

from gateway.money.pricing import cost, price_of, spared_by_cache
from gateway.providers import GeminiProvider
from gateway.providers.codec import AttemptFailed
from gateway.providers.gemini.provider import GeminiCodec, usage_of
from gateway.providers.gemini.request import NO_SIGNATURE

HI = [{"role": "user", "content": "hi"}]
HI_WIRE = [{"role": "user", "parts": [{"text": "hi"}]}]
FLASH, NEW = "gemini-2.5-flash", "gemini-3-flash-preview"
DECLARED = {
    "name": "weather",
    "description": "Looks the weather up.",
    "parametersJsonSchema": WEATHER["function"]["parameters"],
}


def codec(**options: Any) -> GeminiCodec:
    return GeminiProvider(api_key="AIza-secret", **options).build("google", "")


def wire(body: dict[str, Any], model: str = FLASH, **options: Any) -> dict[str, Any]:
    sent = codec(**options).encode({"model": "task", "messages": HI, **body}, model, stream=False)
    return json.loads(sent.body)


def test_the_address_and_the_headers() -> None:
    base = "https://generativelanguage.googleapis.com/v1beta"
    whole = codec().encode({"messages": HI}, f"models/{FLASH}", stream=False)
    assert whole.url == f"{base}/models/{FLASH}:generateContent"
    assert whole.headers["x-goog-api-key"] == "AIza-secret"
    assert json.loads(whole.body) == {"contents": HI_WIRE}
    stream = codec().encode({"messages": HI, "stream": True}, "tunedModels/mine", stream=True)
    assert stream.url == f"{base}/tunedModels/mine:streamGenerateContent?alt=sse"


@pytest.mark.parametrize(
    "model", ["../../upload", "a/b", "x?key=1", "x#", "..", "", "a%2Fb", "a b", "x:countTokens"]
)
def test_a_model_cannot_leave_its_place_in_the_address(model: str) -> None:
    with pytest.raises(AttemptFailed) as caught:
        codec().encode({"messages": HI}, model, stream=False)
    assert (caught.value.error.param, caught.value.error.code) == ("model", "model_not_found")


GOLDEN: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "settings": (
        FLASH,
        {"max_completion_tokens": 7, "temperature": 1.5, "top_p": 0.5, "stop": ["a"], "n": 2, "seed": 3, "presence_penalty": 0.5,
         "frequency_penalty": -1, "logprobs": True, "top_logprobs": 2},
        {"generationConfig": {"temperature": 1.5, "topP": 0.5, "maxOutputTokens": 7, "stopSequences": ["a"], "candidateCount": 2,
                              "seed": 3, "presencePenalty": 0.5, "frequencyPenalty": -1, "responseLogprobs": True, "logprobs": 2}},
    ),
    "hints that change no answer": (FLASH, {"store": False, "user": "u", "n": 1, "parallel_tool_calls": True, "prediction": {}}, {}),
    "what is the provider's own": (
        FLASH,
        {"safetySettings": [{"category": "a"}], "generationConfig": {"topK": 3}, "temperature": 0, "contents": "evil"},
        {"safetySettings": [{"category": "a"}], "generationConfig": {"temperature": 0, "topK": 3}},
    ),
    "instructions": (
        FLASH, {"messages": [{"role": "system", "content": "a"}, *HI, {"role": "developer", "content": [{"type": "text", "text": "b"}]}]},
        {"systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]}},
    ),
    "instructions with a file": (
        FLASH,
        {"messages": [{"role": "system", "content": [
            {"type": "text", "text": "Answer by this."},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}, *HI]},
        {"systemInstruction": {"parts": [{"text": "Answer by this."}]},
         "contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "application/pdf", "data": "aGk="}},
                                                 {"inlineData": {"mimeType": "image/png", "data": "aGk="}}, *HI_WIRE[0]["parts"]]}]},
    ),
    "instructions alone": (FLASH, {"messages": [{"role": "system", "content": "hi"}]}, {}),
    "json": (FLASH, {"response_format": {"type": "json_object"}}, {"generationConfig": {"responseMimeType": "application/json"}}),
    "a schema": (
        FLASH, {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
        {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}}},
    ),
    "a tool": (FLASH, {"tools": [WEATHER]}, {"tools": [{"functionDeclarations": [DECLARED]}]}),
    "a tool that must be used": (
        FLASH, {"tools": [WEATHER], "tool_choice": "required"},
        {"tools": [{"functionDeclarations": [DECLARED]}], "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
    ),
    "no tool": (
        FLASH, {"tools": [WEATHER], "tool_choice": "none"},
        {"tools": [{"functionDeclarations": [DECLARED]}], "toolConfig": {"functionCallingConfig": {"mode": "NONE"}}},
    ),
    "one tool": (
        FLASH, {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"tools": [{"functionDeclarations": [DECLARED]}],
         "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}}},
    ),
    "Google's own tool": (FLASH, {"tools": [{"type": "google", "googleSearch": {}}]}, {"tools": [{"googleSearch": {}}]}),
    "a budget": (FLASH, {"reasoning_effort": "low"}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True}}}),
    "no thinking": (FLASH, {"reasoning_effort": "none"}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
    "as little as the model can": ("gemini-2.5-pro", {"reasoning_effort": "none"}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 128}}}),
    "a level": (NEW, {"reasoning_effort": "medium"}, {"generationConfig": {"thinkingConfig": {"thinkingLevel": "medium", "includeThoughts": True}}}),
    "a model that does not think": ("gemini-2.0-flash", {"reasoning_effort": "none"}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_requests(name: str) -> None:
    model, body, expected = GOLDEN[name]
    assert wire(body, model) == {"contents": HI_WIRE, **expected}


def test_a_round_of_tools_becomes_three_turns() -> None:
    contents = wire({"messages": [*ROUND, {"role": "user", "content": "so?"}]})["contents"]
    assert contents == [
        {"role": "user", "parts": [{"text": "Bonn and Köln?"}]},
        {"role": "model", "parts": [
            {"functionCall": {"name": "weather", "args": {"city": "Bonn"}}},
            {"functionCall": {"name": "weather", "args": {"city": "Köln"}}},
        ]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "weather", "response": {"sky": "blue"}}},
            {"functionResponse": {"name": "weather", "response": {"result": "rain"}}},
            {"text": "so?"},
        ]},
    ]  # fmt: skip


def test_results_stand_in_the_order_of_their_calls() -> None:
    """Google tells two calls of one function apart by their order; a client sends what was ready first."""
    calls = [
        {"id": f"call_{city}", "type": "function", "function": {"name": "weather", "arguments": json.dumps({"city": city})}}
        for city in ("Bonn", "Ulm", "Jena")
    ]
    ready = [{"role": "tool", "tool_call_id": f"call_{city}", "content": f"in {city}"} for city in ("Jena", "Bonn", "Ulm")]
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": calls}, *ready]
    for more in ([], [{"role": "user", "content": "and?"}]):
        parts = wire({"messages": [*turns, *more]})["contents"][2]["parts"]
        told = [one["functionResponse"]["response"]["result"] for one in parts if "functionResponse" in one]
        assert told == ["in Bonn", "in Ulm", "in Jena"] and "functionResponse" in parts[0]


def test_signatures_survive_the_way_back_and_missing_ones_are_excused() -> None:
    first, second = CALLED["tool_calls"]  # type: ignore[misc]
    signed = {**first, "id": "g-1", "extra_content": {"google": {"thought_signature": "sig"}}}
    messages = [
        ROUND[0],
        {**CALLED, "tool_calls": [signed, second]},
        {"role": "tool", "tool_call_id": "g-1", "content": "x"},
    ]
    _, model, result = wire({"messages": messages})["contents"]
    assert model["parts"][0] == {
        "functionCall": {"name": "weather", "args": {"city": "Bonn"}, "id": "g-1"},
        "thoughtSignature": "sig",
    }
    assert "thoughtSignature" not in model["parts"][1]
    assert result["parts"][0]["functionResponse"]["id"] == "g-1"
    unsigned = wire({"messages": ROUND}, NEW)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in unsigned] == [NO_SIGNATURE, None]
    assert "thoughtSignature" not in wire({"messages": ROUND}, FLASH)["contents"][1]["parts"][0]
    spoken = {"role": "assistant", "content": "a", "extra_content": {"google": {"thought_signature": "s"}}}
    assert wire({"messages": [*HI, spoken, *HI]})["contents"][1]["parts"] == [
        {"text": "a", "thoughtSignature": "s"}
    ]


def test_images_audio_and_files() -> None:
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png?x=1"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}},
        {"type": "file", "file": {"file_id": "https://generativelanguage.googleapis.com/v1beta/files/x"}},
    ]
    assert wire({"messages": [{"role": "user", "content": content}]})["contents"][0]["parts"] == [
        {"text": "look"},
        {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
        {"fileData": {"fileUri": "https://example.com/a.png?x=1", "mimeType": "image/png"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x"}},
    ]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "bias": ({"logit_bias": {"1": 2}}, "logit_bias"),
    "audio out": ({"modalities": ["text", "audio"]}, "modalities"),
    "six stops": ({"stop": list("abcdef")}, "stop"),
    "strict tool": ({"tools": [{"type": "function", "function": {"name": "x", "strict": True}}]}, "tools[0].function.strict"),
    "custom tool": ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
}  # fmt: skip
NEVER: dict[str, tuple[dict[str, Any], str]] = {
    "a local file": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]},
        "messages[0].content[0].image_url",
    ),
    "ogg": (
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"format": "ogg"}}]}]},
        "messages[0].content[0].input_audio.format",
    ),
    "no such call": ({"messages": [{"role": "tool", "tool_call_id": "z", "content": "x"}]}, "messages[0].tool_call_id"),
    "functions": ({"functions": [{"name": "x"}]}, "functions"),
    "effort": ({"reasoning_effort": "silly"}, "reasoning_effort"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*REFUSED, *NEVER])
def test_what_gemini_cannot_do_is_refused_by_name(name: str) -> None:
    body, param = {**REFUSED, **NEVER}[name]
    with pytest.raises(AttemptFailed) as caught:
        wire(body)
    error = caught.value.error
    expected = "unsupported" if error.code == "unsupported_parameter" else "refused"
    assert (caught.value.failure.kind, error.status, error.param) == (expected, 400, param)
    assert "google" in error.message
    if name in NEVER:
        with pytest.raises(AttemptFailed):
            wire(body, drop_params=True)
    else:
        assert wire(body, drop_params=True)["contents"] == HI_WIRE


USAGE = {"promptTokenCount": 10, "toolUsePromptTokenCount": 2, "candidatesTokenCount": 5, "thoughtsTokenCount": 3,
         "cachedContentTokenCount": 4, "totalTokenCount": 20}  # fmt: skip
GROUNDING = {
    "groundingChunks": [{"web": {"uri": "https://b.de", "title": "B"}}, {"maps": {}}],
    "groundingSupports": [{"segment": {"startIndex": 10, "endIndex": 14, "text": "Bonn"}, "groundingChunkIndices": [0, 1, 9]}],
}  # fmt: skip
PARTS = [
    {"text": "hm", "thought": True},
    {"text": "Grüße, "},
    {"text": "Bonn", "thoughtSignature": "text-sig"},
    {"functionCall": {"name": "weather", "args": {"city": "Bonn"}}, "thoughtSignature": "call-sig"},
    {"functionCall": {"name": "now", "id": "g-2"}},
    {"executableCode": {"language": "PYTHON", "code": "1"}},
]
ANSWER = {
    "candidates": [{"content": {"role": "model", "parts": PARTS}, "finishReason": "STOP", "index": 0, "groundingMetadata": GROUNDING}],
    "usageMetadata": USAGE, "modelVersion": "gemini-2.5-flash", "responseId": "r1",
}  # fmt: skip
EXPECTED = {
    "role": "assistant", "content": "Grüße, Bonn", "refusal": None,
    "annotations": [{"type": "url_citation", "url_citation": {"start_index": 7, "end_index": 11, "url": "https://b.de", "title": "B"}}],
    "server_blocks": [{"start_index": 11, "thoughts": 0, "block":
        {"type": "server_tool_use", "id": "srvtoolu_understudy_r1_code0", "name": "code_execution", "input": {"code": "1"}}}],
    "reasoning_content": "hm", "extra_content": {"google": {"thought_signature": "text-sig"}},
    "tool_calls": [
        {"id": "call_r1_0", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'},
         "extra_content": {"google": {"thought_signature": "call-sig"}}},
        {"id": "g-2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ],
}  # fmt: skip


def counted(usage: Any) -> tuple[int, int, int, int]:
    return usage.prompt, usage.completion, usage.cached, usage.reasoning


def test_a_whole_answer() -> None:
    answer = codec().decode(200, {}, json.dumps(ANSWER).encode(), now=12.5)
    assert answer.data["choices"] == [
        {"index": 0, "message": EXPECTED, "logprobs": None, "finish_reason": "tool_calls"}
    ]
    assert (answer.data["id"], answer.data["created"], answer.data["model"]) == ("r1", 12, "gemini-2.5-flash")
    assert counted(answer.usage) == (12, 8, 4, 3)
    assert answer.text == "Grüße, Bonn"


def candidate(reason: str | None, text: str = "x", index: int = 0) -> dict[str, Any]:
    one: dict[str, Any] = {"content": {"parts": [{"text": text}] if text else []}, "index": index}
    return {**one, "finishReason": reason} if reason else one


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("RECITATION", "content_filter"),
     ("PROHIBITED_CONTENT", "content_filter"), ("LANGUAGE", "content_filter"), ("BORN_LATER", "stop")],
)  # fmt: skip
@pytest.mark.parametrize("text", ["x", ""])
def test_finish_reasons(reason: str, finish: str, text: str) -> None:
    answer = codec().decode(200, {}, json.dumps({"candidates": [candidate(reason, text)]}).encode(), now=0)
    assert answer.finish_reason == finish
    message = answer.data["choices"][0]["message"]
    assert bool(message["refusal"]) == (finish == "content_filter" and not text)
    (streamed,) = told(
        read(codec().stream(), [plain([{"candidates": [candidate(reason, text)], "usageMetadata": USAGE}])])
    )["choices"]
    assert (streamed["finish_reason"], streamed["message"]["refusal"]) == (finish, message["refusal"])


@pytest.mark.parametrize("reason", ["OTHER", "NO_IMAGE"])
def test_an_answer_without_content_or_a_reason_is_asked_again(reason: str) -> None:
    assert codec().decode(200, {}, json.dumps({"candidates": [candidate(reason)]}).encode(), now=0).finish_reason == "stop"
    with pytest.raises(AttemptFailed) as caught:
        codec().decode(200, {}, json.dumps({"candidates": [candidate(reason, "")]}).encode(), now=0)
    assert caught.value.failure.kind == "failed"
    with pytest.raises(AttemptFailed):
        read(codec().stream(), [plain([{"candidates": [candidate(reason, "")]}])])


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE"])
def test_an_answer_that_broke_is_asked_again(reason: str) -> None:
    data = {"candidates": [candidate(reason)]}
    for ask in (
        lambda: codec().decode(200, {}, json.dumps(data).encode(), now=0),
        lambda: read(codec().stream(), [plain([data])]),
    ):
        with pytest.raises(AttemptFailed) as caught:
            ask()
        assert caught.value.failure.kind == "failed"


def test_a_blocked_prompt_is_a_filtered_answer() -> None:
    data = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}
    answer = codec().decode(200, {}, json.dumps(data).encode(), now=0)
    streamed = told(read(codec().stream(), [plain([data])]))
    for choice in (answer.data["choices"][0], streamed["choices"][0]):
        assert choice["finish_reason"] == "content_filter"
        assert choice["message"]["content"] is None
        assert "SAFETY" in choice["message"]["refusal"]


def test_logprobs_and_images() -> None:
    one = {
        **candidate("STOP"),
        "logprobsResult": {"chosenCandidates": [{"token": "x", "logProbability": -0.5}],
                           "topCandidates": [{"candidates": [{"token": "y", "logProbability": -1}]}]},
    }  # fmt: skip
    one["content"]["parts"].append({"inlineData": {"mimeType": "image/png", "data": PIXEL}})
    found = codec().decode(200, {}, json.dumps({"candidates": [one]}).encode(), now=0).data["choices"][0]
    assert found["logprobs"]["content"] == [
        {
            "token": "x",
            "logprob": -0.5,
            "bytes": [120],
            "top_logprobs": [{"token": "y", "logprob": -1, "bytes": [121]}],
        }
    ]
    assert found["message"]["images"][0]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    streamed = told(read(codec().stream(), [plain([{"candidates": [one], "usageMetadata": USAGE}])]))[
        "choices"
    ][0]
    assert streamed["logprobs"]["content"] == found["logprobs"]["content"]
    assert streamed["message"]["images"] == found["message"]["images"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"candidates": 1}', b"\xff"])
def test_nonsense_is_the_providers_failure(body: bytes) -> None:
    with pytest.raises(AttemptFailed) as caught:
        codec().decode(200, {}, body, now=0)
    assert caught.value.failure.kind == "failed"


def event(*parts: dict[str, Any], prompt: int = 999, **more: Any) -> dict[str, Any]:
    one = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **more}
    return {"candidates": [one], "usageMetadata": {"promptTokenCount": prompt}, "modelVersion": "gemini-2.5-flash", "responseId": "r1"}  # fmt: skip


EVENTS = [
    event({"text": "h", "thought": True}),
    event({"text": "m", "thought": True}),
    event(PARTS[1]),
    event({"text": "Bo"}),
    event({"text": "nn", "thoughtSignature": "text-sig"}, PARTS[3]),
    event(PARTS[4], PARTS[5], finishReason="STOP"),
    {**event(finishReason="STOP", groundingMetadata=GROUNDING), "usageMetadata": USAGE},
]
STREAM = plain(EVENTS)


def test_a_stream_cut_anywhere_before_its_reason_is_a_failure() -> None:
    last = len(plain(EVENTS[:-1]))
    for cut in range(len(STREAM) - 3):
        decoder = codec().stream()
        decoder.feed(STREAM[:cut])
        if last - 3 < cut <= last:  # between two events, after the reason: only the transport could tell
            continue
        with pytest.raises(AttemptFailed):
            decoder.finish()


def test_several_candidates_keep_to_their_own_index() -> None:
    events = [
        {"candidates": [candidate(None, "a", 0), candidate(None, "x", 1)]},
        {"candidates": [candidate("STOP", "b", 0)]},
        {"candidates": [candidate("MAX_TOKENS", "y", 1)], "usageMetadata": USAGE},
    ]
    chunks = read(codec().stream(), [plain(events)])
    choices = told(chunks)["choices"]
    assert [(one["index"], one["message"]["content"], one["finish_reason"]) for one in choices] == [
        (0, "ab", "stop"),
        (1, "xy", "length"),
    ]
    assert "".join(chunk.text for chunk in chunks) == "ab"
    with pytest.raises(AttemptFailed):
        read(codec().stream(), [plain(events[:2])])


def error(status: int, name: str, message: str, *details: dict[str, Any]) -> bytes:
    return json.dumps(
        {"error": {"code": status, "message": message, "status": name, "details": list(details)}}
    ).encode()


@pytest.mark.parametrize(
    ("body", "kind"),
    [(error(503, "UNAVAILABLE", "overloaded"), "failed"), (error(429, "RESOURCE_EXHAUSTED", "slow"), "throttled"),
     (error(400, "INVALID_ARGUMENT", "no"), "refused"), (b'{"error": "x"}', "failed"), (b"{not json", "failed"), (b"[1]", "failed")],
)  # fmt: skip
def test_errors_and_junk_inside_a_stream(body: bytes, kind: str) -> None:
    with pytest.raises(AttemptFailed) as caught:
        codec().stream().feed(b"data: " + body + b"\r\n\r\n")
    assert caught.value.failure.kind == kind


@pytest.mark.parametrize("body", [b"", b": nothing\n\n", plain([{"usageMetadata": USAGE}])])
def test_an_empty_stream_is_a_failure(body: bytes) -> None:
    with pytest.raises(AttemptFailed):
        read(codec().stream(), [body])


ERRORS = [
    (400, "INVALID_ARGUMENT", "bad field", "refused", 400, "invalid_argument"),
    (400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8).", "refused", 400, "context_length_exceeded"),
    (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", "credentials", 502, "provider_credentials"),
    (400, "FAILED_PRECONDITION", "User location is not supported", "credentials", 502, "provider_credentials"),
    (403, "PERMISSION_DENIED", "denied", "credentials", 502, "provider_credentials"),
    (404, "NOT_FOUND", "models/x is not found", "refused", 404, "model_not_found"),
    (429, "RESOURCE_EXHAUSTED", "quota", "throttled", 429, "rate_limit_exceeded"),
    (500, "INTERNAL", "oops", "failed", 502, "upstream_error"),
    (503, "UNAVAILABLE", "busy", "failed", 503, "upstream_overloaded"),
    (504, "DEADLINE_EXCEEDED", "slow", "failed", 504, "upstream_timeout"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "name", "message", "failure", "client", "code"), ERRORS)
def test_errors(status: int, name: str, message: str, failure: str, client: int, code: str) -> None:
    body = error(status, name, message)
    for wrapped in (body, b"[" + body + b"]"):
        found = codec().refuse(status, {}, wrapped, now=0)
        assert (found.failure.kind, found.error.status, found.error.code) == (failure, client, code)
        assert (message in found.error.message) == (failure in ("refused", "throttled"))
    with pytest.raises(AttemptFailed):
        codec().decode(status, {}, body, now=0)


def test_the_wait_that_google_asks_for() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "23.5s"}
    found = codec().refuse(429, {}, error(429, "RESOURCE_EXHAUSTED", "quota", info), now=0)
    assert found.failure.retry_after == 23.5
    assert found.error.headers["retry-after"] == "24"


def test_sound_is_counted_by_its_modality() -> None:
    """Of the prompt, of what was cached and of the answer: the counts by modality are parts of the totals."""
    details = [{"modality": "TEXT", "tokenCount": 40}, {"modality": "AUDIO", "tokenCount": 60}]
    usage = {
        "promptTokenCount": 100, "candidatesTokenCount": 30, "cachedContentTokenCount": 50, "promptTokensDetails": details,
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 20}, {"modality": "TEXT", "tokenCount": 30}],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}],
    }  # fmt: skip
    found = usage_of(usage)
    assert found is not None
    assert (found.prompt, found.audio_input, found.audio_output, found.cached, found.cached_audio) == (100, 60, 30, 50, 20)
    price = price_of({}, "google", "gemini", "gemini-2.5-flash")
    heard = usage_of({**usage, "candidatesTokensDetails": [], "candidatesTokenCount": 0})
    assert cost(heard, price) == pytest.approx((10 * 0.3 + 30 * 0.03 + 40 * 1.0 + 20 * 0.1) / 1e6)
    assert cost(found, price) is None  # the catalog has no price for what this model says aloud
    del usage["cacheTokensDetails"]
    unsaid = usage_of(usage)
    assert unsaid is not None and unsaid.heard_again is None


def test_cached_content_goes_out_as_it_was_written() -> None:
    """By the field of an SDK's ``extra_body``, plain or in Google's own; its tokens are counted as cached ones."""
    name = "cachedContents/abc"
    assert wire({"messages": HI, "cachedContent": name})["cachedContent"] == name
    assert wire({"messages": HI, "google": {"cachedContent": name}})["cachedContent"] == name
    found = usage_of({"promptTokenCount": 1000, "candidatesTokenCount": 5, "cachedContentTokenCount": 900})
    price = price_of({}, "google", "gemini", "gemini-2.5-flash")
    assert cost(found, price) == pytest.approx((100 * 0.30 + 900 * 0.03 + 5 * 2.5) / 1e6)
    assert spared_by_cache(found, price) == pytest.approx(900 * 0.27 / 1e6)


RAN = [
    {"text": "Let me count. "},
    {"executableCode": {"language": "PYTHON", "code": "print(6*7)"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42\n"}},
    {"text": "Größe: 42."},
    {"executableCode": {"language": "PYTHON", "code": "1/0"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": "ZeroDivisionError"}},
]
SOUGHT = {
    "webSearchQueries": ["size of it", "its size"],
    "groundingChunks": [{"web": {"uri": "https://b.de", "title": "B"}}, 3, {"web": {"uri": "https://c.de"}}],
    "groundingSupports": [{"segment": {"partIndex": 3, "startIndex": 0, "endIndex": 12, "text": "Größe: 42."}, "groundingChunkIndices": [0]}],
}  # fmt: skip
READ = {"urlMetadata": [{"retrievedUrl": "https://d.de", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"},
                        {"retrievedUrl": "https://e.de", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_ERROR"}, 7]}  # fmt: skip
PICTURE = {"inlineData": {"mimeType": "image/png", "data": PIXEL}}
DONE = {"groundingMetadata": SOUGHT, "urlContextMetadata": READ, "finishReason": "STOP"}


def what_ran(message: dict[str, Any]) -> list[tuple[int, str, Any]]:
    found = []
    for one in message["server_blocks"]:
        block = one["block"]
        assert (block.get("id") or block["tool_use_id"]).startswith("srvtoolu_understudy_r1_")
        found.append((one["start_index"], block["type"], block.get("input") or block.get("content")))
    return found


def test_what_ran_at_google_what_was_found_and_read_and_pictures() -> None:
    text = "Let me count. Größe: 42."
    whole_one = {**event(*RAN, PICTURE, **DONE), "usageMetadata": USAGE}
    answer = codec().decode(200, {}, json.dumps(whole_one).encode(), now=0)
    raw = plain([event(part) for part in RAN] + [{**event(PICTURE, **DONE), "usageMetadata": USAGE}])
    for pieces in ([raw], [bytes([byte]) for byte in raw]):
        streamed = told(read(codec().stream(), pieces))["choices"][0]["message"]
        for message, search in ((answer.data["choices"][0]["message"], 0), (streamed, len(text))):
            assert message["content"] == text
            assert message["images"] == [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]
            pages = [one["url_citation"] for one in message["annotations"]]
            assert [(one["url"], text[one["start_index"] : one["end_index"]]) for one in pages] == [("https://b.de", "Größe: 42."), ("https://d.de", text)]
            ran = what_ran(message)
            sought = [one for one in ran if "web_search" in one[1] or "query" in one[2]]
            assert [one[0] for one in sought] == [search] * 2 and sought[0][2] == {"query": "size of it; its size"}
            assert [one["url"] for one in sought[1][2]] == ["https://b.de", "https://c.de"]
            code = [one for one in ran if one not in sought]
            assert [(at, kind) for at, kind, _ in code] == [
                (14, "server_tool_use"), (14, "code_execution_tool_result"), (24, "server_tool_use"), (24, "code_execution_tool_result")
            ]  # fmt: skip
            assert code[0][2] == {"code": "print(6*7)"} and (code[1][2]["stdout"], code[1][2]["return_code"]) == ("42\n", 0)
            assert (code[3][2]["stderr"], code[3][2]["return_code"]) == ("ZeroDivisionError", 1)
            kept = wire({"messages": [*HI, message, *HI]})["contents"][1]["parts"]
            assert kept == RAN, "what Gemini ran goes back to it, where it stood"


@pytest.mark.parametrize("junk", [None, 3, [], "x", {"urlMetadata": 3}, {"groundingChunks": [1], "groundingSupports": [{"segment": 3}, 4]}])
def test_sources_that_are_none(junk: Any) -> None:
    parts = [{"text": "a"}, {"executableCode": junk}, {"codeExecutionResult": junk}]
    body = event(*parts, finishReason="STOP", groundingMetadata=junk, urlContextMetadata=junk)
    answer = codec().decode(200, {}, json.dumps(body).encode(), now=0)
    assert answer.data["choices"][0]["message"]["content"] == "a" and not answer.data["choices"][0]["message"]["annotations"]
