"""A user who says nothing is answered by OpenAI; of others the gateway makes sure that there is something to answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.providers import (
    AnthropicProvider,
    BedrockProvider,
    CohereProvider,
    GeminiProvider,
    OpenAIProvider,
)
from gateway.providers.codec import AttemptFailed, Codec
from gateway.providers.translate_request import SAID_NOTHING

CODECS: dict[str, Any] = {
    "claude-sonnet-4-5": AnthropicProvider(api_key="k"),
    "gemini-2.5-flash": GeminiProvider(api_key="k"),
    "anthropic.claude-sonnet-4-5-20250929-v1:0": BedrockProvider(region="us-east-1", api_key="k"),
    "command-a-03-2025": CohereProvider(api_key="k"),
}
NOTHINGS: list[Any] = ["", " \n", [], [{"type": "text", "text": ""}], [{"type": "text", "text": " "}, {"type": "text", "text": ""}]]
BEFORE: dict[str, list[Any]] = {
    "alone": [],
    "instructed": [{"role": "system", "content": "Be brief."}],
    "behind an answer": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
}


def turns(made: Codec, model: str, messages: list[Any]) -> list[tuple[str, str]]:
    """(role, text) of what a provider is sent."""
    wire = json.loads(made.encode({"messages": messages}, model, stream=False).body)
    return [(one["role"], _text(one)) for one in wire.get("messages") or wire.get("contents") or ()]


def _text(message: dict[str, Any]) -> str:
    content: Any = message.get("content", message.get("parts"))
    return content if isinstance(content, str) else "".join(one["text"] for one in content)


@pytest.mark.parametrize("nothing", NOTHINGS, ids=repr)
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("model", CODECS)
def test_an_empty_message_at_the_end_is_something_to_answer(model: str, before: str, nothing: Any) -> None:
    made = CODECS[model].build("p", "")
    sent = turns(made, model, [*BEFORE[before], {"role": "user", "content": nothing}])
    assert sent[-1] == ("user", SAID_NOTHING)
    assert [text for role, text in sent[:-1] if role != "system"] == (["a", "b"] if before == "behind an answer" else [])


@pytest.mark.parametrize("model", CODECS)
def test_whoever_said_something_is_left_alone(model: str) -> None:
    made = CODECS[model].build("p", "")
    said = [{"role": "user", "content": ""}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    begun = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]  # Converse wants a user first
    assert all(SAID_NOTHING not in text for _, text in turns(made, model, [*begun, *said]))
    prefilled = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert turns(made, model, prefilled)[-1][1] == "b"


def test_openai_is_told_what_its_client_said() -> None:
    made = OpenAIProvider(api_key="k").build("p", "")
    body = {"messages": [{"role": "user", "content": ""}]}
    assert json.loads(made.encode(body, "gpt-4o", stream=False).body)["messages"] == body["messages"]
    other = OpenAIProvider(api_key="k", api="responses").build("p", "")
    (item,) = json.loads(other.encode(body, "gpt-4o", stream=False).body)["input"]
    assert item["content"] == [{"type": "input_text", "text": ""}]


@pytest.mark.parametrize("model", CODECS)
def test_what_was_said_in_sound_alone_is_not_left_out_without_a_word(model: str) -> None:
    """Its id means something to the provider that spoke; anybody else would be sent a conversation with a hole."""
    spoken = {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}
    messages = [{"role": "user", "content": "a"}, spoken, {"role": "user", "content": "c"}]
    with pytest.raises(AttemptFailed) as refused:
        turns(CODECS[model].build("p", ""), model, messages)
    assert refused.value.error.param == "messages[1].audio" and "transcript" in refused.value.error.message
    spoken["content"] = "b"
    assert "b" in [text for _, text in turns(CODECS[model].build("p", ""), model, messages)]
