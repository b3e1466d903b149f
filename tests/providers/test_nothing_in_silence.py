"""No parameter that changes an answer is dropped in silence: it reaches the provider, or it is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.catalog import vendors
from gateway.protocol.hints import HINTS
from gateway.providers import (
    AnthropicProvider,
    AzureProvider,
    BedrockProvider,
    CohereProvider,
    GeminiProvider,
    OpenAIProvider,
)
from gateway.providers.codec import AttemptFailed, Codec
from gateway.providers.openai.vendors import profile_of
from gateway.providers.translate_request import KNOWN

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
VALUES: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "wav"}, "frequency_penalty": 0.5, "function_call": "auto",
    "functions": [{"name": "f", "parameters": {"type": "object", "properties": {}}}], "logit_bias": {"1": 5}, "logprobs": True,
    "max_completion_tokens": 77, "max_tokens": 77, "modalities": ["text", "audio"],
    "moderation": {"model": "omni-moderation-latest", "policy": {"input": {"mode": "block"}}}, "n": 2,
    "parallel_tool_calls": False, "presence_penalty": 0.5, "reasoning_effort": "high",
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}, "seed": 7,
    "stop": ["END"], "temperature": 0.3, "tool_choice": "required", "tools": [TOOL], "top_logprobs": 3, "top_p": 0.5,
    "verbosity": "low", "web_search_options": {},
}  # fmt: skip
BESIDE = {"tool_choice": {"tools": [TOOL]}, "parallel_tool_calls": {"tools": [TOOL]}, "top_logprobs": {"logprobs": True},
          "function_call": {"functions": VALUES["functions"]}}  # fmt: skip
HARMLESS = {
    "messages", "model", "stream", "stream_options", "store", "metadata",  # the gateway's own
    "user", "safety_identifier", "service_tier", "prediction", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention",  # who, how fast, at what price: not what is answered
}  # fmt: skip
BODY = {"messages": [{"role": "user", "content": "hi"}]}
NATIVE: dict[str, tuple[Codec, str]] = {
    "anthropic": (AnthropicProvider(api_key="k").build("p", ""), "claude-sonnet-4-5"),
    "bedrock": (BedrockProvider(api_key="k").build("p", ""), "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "cohere": (CohereProvider(api_key="k").build("p", ""), "command-a-reasoning"),
    "gemini": (GeminiProvider(api_key="k").build("p", ""), "gemini-2.5-flash"),
    "responses": (OpenAIProvider(api_key="k", api="responses").build("p", ""), "gpt-5.1"),
}
KEPT_HERE = {(one, "parallel_tool_calls") for one in ("bedrock", "cohere", "gemini")} | {("responses", "stop")}
"""Promises that the gateway keeps itself: the provider is told nothing (tests/clients/test_framework_requests.py)."""
COMPATIBLE = [name for name in vendors() if profile_of(name) is not None]


def wire(codec: Codec, model: str, body: dict[str, Any]) -> Any:
    return json.loads(codec.encode(body, model, stream=False).body)


def test_every_known_parameter_is_looked_at() -> None:
    assert set(VALUES) | HARMLESS == KNOWN - HINTS


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("dialect", NATIVE)
def test_native_dialects(dialect: str, name: str) -> None:
    codec, model = NATIVE[dialect]
    body = {**BODY, **BESIDE.get(name, {})}
    try:
        sent = wire(codec, model, {**body, name: VALUES[name]})
    except AttemptFailed as problem:
        assert problem.error.param is not None and "(provider 'p')" in problem.error.message
        return
    told = sent != wire(codec, model, body)
    assert told is ((dialect, name) not in KEPT_HERE), f"'{name}' is dropped in silence"


@pytest.mark.parametrize("name", COMPATIBLE)
def test_compatible_vendors(name: str) -> None:
    codec = OpenAIProvider(api_key="k", profile=name).build("p", "")
    for param, value in VALUES.items():
        try:
            sent = wire(codec, "m", {**BODY, param: value})
        except AttemptFailed as problem:
            assert problem.error.param == param
            continue
        assert sent != wire(codec, "m", BODY), (name, param)


@pytest.mark.parametrize("name", [one for one in COMPATIBLE if one != "openai"])
def test_moderation_by_openai_is_asked_of_openai_alone(name: str) -> None:
    """A vendor that does not know the field would answer as if nothing had been asked."""
    codec = OpenAIProvider(api_key="k", profile=name).build("p", "")
    with pytest.raises(AttemptFailed) as caught:
        codec.encode({**BODY, "moderation": VALUES["moderation"]}, "m", stream=False)
    assert (caught.value.error.param, caught.value.error.code) == ("moderation", "unsupported_parameter")


MOST_STOPS = {"azure": 4, "cohere": 5, "deepseek": 16, "gemini": 5, "groq": 4, "openai": 4}


@pytest.mark.parametrize("name", MOST_STOPS)
def test_too_many_stop_sequences_are_refused_by_name_or_dropped_on_demand(name: str) -> None:
    most = MOST_STOPS[name]

    def built(*, drop: bool) -> Codec:
        if name == "azure":
            return AzureProvider(base_url="https://x.openai.azure.com", api_key="k").build("p", "")
        if name in ("cohere", "gemini"):
            made = CohereProvider if name == "cohere" else GeminiProvider
            return made(api_key="k", drop_params=drop).build("p", "")
        return OpenAIProvider(api_key="k", profile=name, drop_params=drop).build("p", "")

    many = [f"S{at}" for at in range(most + 1)]
    with pytest.raises(AttemptFailed) as caught:
        built(drop=False).encode({**BODY, "stop": many}, "m", stream=False)
    assert (caught.value.failure.kind, caught.value.error.param) == ("unsupported", "stop")
    assert f"at most {most} " in caught.value.error.message and "(provider 'p')" in caught.value.error.message
    fits = built(drop=False).encode({**BODY, "stop": many[:-1]}, "m", stream=False).body
    assert many[most - 1].encode() in fits
    if name != "azure":
        sent = built(drop=True).encode({**BODY, "stop": many}, "m", stream=False).body
        assert json.loads(sent) == json.loads(fits)


def test_a_server_of_ones_own_and_claude_set_no_limit_that_is_known() -> None:
    many = [f"S{at}" for at in range(40)]
    own = OpenAIProvider(api_key="k", base_url="http://127.0.0.1:1/v1").build("p", "")
    assert wire(own, "m", {**BODY, "stop": many})["stop"] == many
    assert wire(*NATIVE["anthropic"], {**BODY, "stop": many})["stop_sequences"] == many


CLAUDES_OWN = {
    "search_result": {"type": "search_result", "source": "a", "title": "b", "content": [{"type": "text", "text": "c"}]},
    "Files API": {"type": "file", "file": {"file_id": "file_011CNha8"}},
}


@pytest.mark.parametrize("what", CLAUDES_OWN)
@pytest.mark.parametrize("dialect", [one for one in NATIVE if one != "anthropic"])
def test_what_only_claude_reads_is_refused_by_name_wherever_it_stands(dialect: str, what: str) -> None:
    codec, model = NATIVE[dialect]
    if (dialect, what) == ("bedrock", "search_result"):
        model = "amazon.nova-pro-v1:0"  # Claude reads them there too
    parts = [{"type": "text", "text": "hi"}, CLAUDES_OWN[what]]
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    for turns in ([{"role": "user", "content": parts}],
                  [*BODY["messages"], asked, {"role": "tool", "tool_call_id": "c", "content": parts}]):  # fmt: skip
        with pytest.raises(AttemptFailed, match=what) as caught:
            codec.encode({"messages": turns, "tools": [TOOL]}, model, stream=False)
        assert caught.value.failure.kind == "unsupported" and "(provider 'p')" in caught.value.error.message
        assert caught.value.error.param == f"messages[{len(turns) - 1}].content[1]"
