"""What clients of Anthropic's API say in its own words: it reaches Claude, and is refused by name where it would be lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.errors import BadRequest
from gateway.protocol.body import typed
from gateway.protocol.chat import ChatRequest
from gateway.protocol.messages.request import MessagesRequest, chat_body
from gateway.protocol.responses.items import chat_messages as of_items
from gateway.providers import (
    AnthropicProvider,
    BedrockProvider,
    CohereProvider,
    GeminiProvider,
    OpenAIProvider,
)
from gateway.providers.codec import AttemptFailed, Codec
from gateway.routing.needs import needs_of

HELD = "file_011CNha8iCJcU1wXNR6q4V8w"
IMAGE = {"type": "image", "source": {"type": "file", "file_id": HELD}}
CLAUDE, OLD, GPT = "claude-opus-5", "claude-sonnet-4-5", "gpt-5"
OTHERS: dict[str, tuple[Codec, str]] = {
    "openai": (OpenAIProvider(api_key="k").build("p", ""), GPT),
    "responses": (OpenAIProvider(api_key="k", api="responses").build("p", ""), GPT),
    "gemini": (GeminiProvider(api_key="k").build("p", ""), "gemini-2.5-flash"),
    "bedrock": (BedrockProvider(api_key="k").build("p", ""), "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "nova": (BedrockProvider(api_key="k").build("p", ""), "amazon.nova-pro-v1:0"),
    "cohere": (CohereProvider(api_key="k").build("p", ""), "command-a"),
}  # fmt: skip
EVERYWHERE = {**OTHERS, "anthropic": (AnthropicProvider(api_key="k").build("p", ""), OLD)}


def chat(*content: dict[str, Any], **more: Any) -> dict[str, Any]:
    data = {"model": "m", "max_tokens": 9000, "messages": [{"role": "user", "content": list(content) or "hi"}], **more}
    return chat_body(data, typed(data, MessagesRequest))


def sent(name: str, body: dict[str, Any], model: str = "") -> dict[str, Any]:
    codec, usual = EVERYWHERE[name]
    return json.loads(codec.encode(body, model or usual, stream=False).body)  # type: ignore[no-any-return]


def test_an_image_of_the_files_api_is_claudes_and_no_one_elses() -> None:
    body = chat(IMAGE, {"type": "text", "text": "What is it?"})
    assert sent("anthropic", body)["messages"][0]["content"][0] == IMAGE
    assert needs_of(typed({**body, "model": "m"}, ChatRequest), body, 1).capabilities == ("vision",)
    for name, (codec, model) in OTHERS.items():
        with pytest.raises(AttemptFailed, match="Files API") as caught:
            codec.encode(body, model, stream=False)
        assert caught.value.failure.kind == "unsupported" and "(provider 'p')" in caught.value.error.message, name


def test_an_image_by_openais_id_goes_to_openais_other_api_and_is_refused_elsewhere() -> None:
    part = {"type": "input_image", "file_id": "file-abc", "detail": "auto"}
    body = {"messages": of_items(None, (), [{"role": "user", "content": [part]}])}
    assert sent("responses", body)["input"][0]["content"] == [part]
    for name in ("openai", "anthropic", "gemini", "bedrock", "cohere"):
        with pytest.raises(AttemptFailed) as caught:
            sent(name, body)
        assert caught.value.failure.kind == "unsupported", name
        assert caught.value.error.param and "(provider 'p')" in caught.value.error.message, name


def test_a_document_that_its_client_cut_itself_is_cited_by_its_pieces() -> None:
    pieces = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    document = {"type": "document", "title": "T", "citations": {"enabled": True}, "source": {"type": "content", "content": pieces}}
    asked = {"type": "text", "text": "?"}
    assert sent("anthropic", chat(document, asked))["messages"][0]["content"] == [document, asked]
    plain = chat({**document, "citations": None}, asked)
    assert "one\ntwo" in json.dumps(sent("openai", plain)).replace("\\n", "\n")
    with pytest.raises(BadRequest) as caught:
        chat({**document, "source": {"type": "content", "content": [IMAGE]}})
    assert caught.value.param == "messages.0.content.0.source.content.0"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "image": ({"messages": [{"role": "user", "content": [{**IMAGE, "transformations": ["x"]}]}]}, "messages.0.content.0.transformations"),
    "result": ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "toolset_name": "s"}]}]},
               "messages.0.content.0.toolset_name"),
    "caller": ({"messages": [{"role": "assistant", "content": [
        {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "code_execution_20260120", "tool_id": "x"}}]}]},
        "messages.0.content.0.caller"),
    "callers": ({"tools": [{"name": "f", "input_schema": {}, "allowed_callers": ["code_execution_20260120"]}]}, "tools.0.allowed_callers"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_would_be_lost_is_refused_by_its_place(name: str) -> None:
    more, place = WRONG[name]
    with pytest.raises(BadRequest) as caught:
        chat(**more)
    assert (caught.value.param, caught.value.code) == (place, "unsupported_parameter")


def test_what_an_answer_carries_goes_back_as_it_came() -> None:
    """An SDK sends back all fields of an answer, those that are empty too."""
    place = {"type": "char_location", "cited_text": "x", "document_index": 0, "document_title": None, "start_char_index": 0,
             "end_char_index": 1, "file_id": None}  # fmt: skip
    said = [{"type": "text", "text": "so", "citations": [place]}, {"type": "text", "text": ".", "citations": None},
            {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}, "toolset_name": None}]  # fmt: skip
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": said},
             {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]}]  # fmt: skip
    tools = [{"name": "f", "input_schema": {"type": "object"}, "eager_input_streaming": True, "allowed_callers": ["direct"]}]
    wire = sent("anthropic", chat(messages=turns, tools=tools))
    assert wire["messages"][1]["content"] == [
        {"type": "text", "text": "so", "citations": [place]}, {"type": "text", "text": "."},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    ]  # fmt: skip
    assert wire["tools"][0]["eager_input_streaming"] is True
    other = json.dumps(sent("openai", chat(messages=turns, tools=tools)))
    assert "citations" not in other and "eager_input_streaming" not in other


def test_where_an_answer_is_made_is_not_for_others_to_ignore() -> None:
    body = chat(inference_geo="us", speed="fast")
    wire = sent("anthropic", body)
    assert (wire["inference_geo"], wire["speed"]) == ("us", "fast")
    for name, (codec, model) in OTHERS.items():
        with pytest.raises(AttemptFailed) as caught:
            codec.encode(body, model, stream=False)
        assert (caught.value.error.param, caught.value.failure.kind) == ("inference_geo", "unsupported"), name


@pytest.mark.parametrize(
    ("model", "asked", "told"),
    [("claude-opus-5", "max", "max"), ("claude-opus-5", "xhigh", "xhigh"), ("claude-opus-5", "minimal", "low"),
     ("claude-opus-4-6", "max", "max"), ("claude-opus-4-6", "xhigh", "high"), ("claude-opus-4-6", "medium", "medium")],
)  # fmt: skip
def test_efforts_are_the_nearest_that_the_model_knows(model: str, asked: str, told: str) -> None:
    assert sent("anthropic", {"messages": [{"role": "user", "content": "hi"}], "reasoning_effort": asked}, model)["output_config"] == {"effort": told}


TOP_K: dict[str, dict[str, Any] | None] = {
    "anthropic": {"top_k": 40}, "gemini": {"generationConfig": {"topK": 40}}, "cohere": {"k": 40},
    "bedrock": {"additionalModelRequestFields": {"top_k": 40}}, "openai": None, "responses": None,
}  # fmt: skip


@pytest.mark.parametrize("name", TOP_K)
def test_top_k_is_said_in_every_dialects_word_or_refused(name: str) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "top_k": 40.0}  # Google's clients send it so
    found = TOP_K[name]
    if found is None:
        with pytest.raises(AttemptFailed) as caught:
            sent(name, body)
        assert (caught.value.error.param, caught.value.failure.kind) == ("top_k", "unsupported")
    else:
        wire = sent(name, body)
        assert {key: wire[key] for key in found} == found and "top_k" not in wire.keys() - found.keys()
    own = OpenAIProvider(api_key="k", base_url="http://127.0.0.1:1/v1").build("p", "")
    assert json.loads(own.encode(body, "m", stream=False).body)["top_k"] == 40


def test_a_mark_to_keep_a_prompt_is_said_to_those_who_keep_it() -> None:
    mark = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}
    items = [{"role": "user", "content": [{"type": "input_text", "text": "long", **mark}]}]
    for body in (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "long", **mark}]}]},
        {"messages": of_items(None, (), items)},
    ):
        assert sent("openai", body)["messages"][0]["content"] == [{"type": "text", "text": "long", **mark}]
        assert sent("responses", body)["input"][0]["content"] == items[0]["content"]
        (block,) = sent("anthropic", body)["messages"][0]["content"]
        assert block["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
        assert sent("bedrock", body)["messages"][0]["content"][1:] == [{"cachePoint": {"type": "default", "ttl": "1h"}}]
        for name in ("gemini", "cohere", "nova"):
            assert "prompt_cache_breakpoint" not in json.dumps(sent(name, body))
        mistral = OpenAIProvider(api_key="k", profile="mistral").build("p", "")
        assert json.loads(mistral.encode(body, "m", stream=False).body)["messages"][0]["content"] == "long"
