"""OpenAI's models that think: what they refuse of a chat request is renamed, kept here, or refused by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.providers import AzureProvider, OpenAIProvider
from gateway.providers.codec import AttemptFailed, Codec

HI = [{"role": "user", "content": "hi"}]
TEXT = "Thought: löok\nObservation: rain"
STOP = "\nObservation:"
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
THINKING = ["o1", "o3-mini", "gpt-5-mini-2025-08-07", "gpt-5.2", "gpt-6.1-sol", "ft:o4-mini-2025-04-16:acme::x"]
OTHERS = ["gpt-4o", "gpt-4.1-2025-04-14", "gpt-5-chat-latest", "gpt-3.5-turbo", "gpt-5-search-api"]


def codec(**more: Any) -> Codec:
    return OpenAIProvider(api_key="k", **more).build("p", "")


def sent(body: dict[str, Any], model: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(codec(**more).encode({"messages": HI, **body}, model, stream=False).body)
    return found


@pytest.mark.parametrize("model", THINKING)
def test_a_limit_has_its_other_name_and_stops_stay_here(model: str) -> None:
    found = sent({"max_tokens": 9, "stop": [STOP], "temperature": 1, "top_p": 1, "logprobs": False}, model)
    assert found["max_completion_tokens"] == 9
    assert found.keys().isdisjoint({"max_tokens", "stop"})
    assert sent({"max_tokens": 9, "max_completion_tokens": 8}, model)["max_completion_tokens"] == 8


@pytest.mark.parametrize("model", OTHERS)
def test_models_that_do_not_think_are_told_what_was_said(model: str) -> None:
    said = {"max_tokens": 9, "stop": [STOP], "temperature": 0.2, "logprobs": True}
    assert sent(said, model).items() >= said.items()


WISHES: dict[str, Any] = {"temperature": 0.2, "top_p": 0.5, "presence_penalty": 1, "frequency_penalty": 1,
                          "logit_bias": {"5": 1}, "logprobs": True}  # fmt: skip


@pytest.mark.parametrize("name", WISHES)
@pytest.mark.parametrize("model", ["o3", "gpt-5", "gpt-6.1-sol"])
def test_drawing_is_refused_by_its_name_or_dropped(model: str, name: str) -> None:
    with pytest.raises(AttemptFailed) as caught:
        sent({name: WISHES[name]}, model)
    assert (caught.value.failure.kind, caught.value.error.param) == ("unsupported", name)
    assert model in caught.value.error.message
    assert name not in sent({name: WISHES[name]}, model, drop_params=True)


def test_without_effort_newer_models_draw_as_they_are_told() -> None:
    for effort in ({}, {"reasoning_effort": "none"}):
        assert sent({"temperature": 0.2, **effort}, "gpt-5.2")["temperature"] == 0.2
    with pytest.raises(AttemptFailed):
        sent({"temperature": 0.2, "reasoning_effort": "low"}, "gpt-5.2")


def test_the_responses_api_is_asked_likewise() -> None:
    with pytest.raises(AttemptFailed) as caught:
        sent({"temperature": 0.2}, "o3", api="responses")
    assert caught.value.error.param == "temperature"
    assert "temperature" not in sent({"temperature": 0.2}, "o3", api="responses", drop_params=True)
    assert sent({"temperature": 0.2}, "gpt-4o", api="responses")["temperature"] == 0.2


def test_a_server_of_ones_own_is_told_all() -> None:
    said = {"stop": [STOP], "temperature": 0.2, "max_tokens": 9}
    assert sent(said, "o3", base_url="http://127.0.0.1:9/v1").items() >= said.items()


# ---------------------------------------------------------------- the cut
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def whole(model: str, *texts: str) -> bytes:
    choices = [{"index": at, "message": {"role": "assistant", "content": text, "refusal": None}, "logprobs": None,
                "finish_reason": "length"} for at, text in enumerate(texts)]  # fmt: skip
    return json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": model, "choices": choices, "usage": USAGE}).encode()


def streamed(model: str, *texts: str, piece: int = 3, call: bool = False) -> bytes:
    def event(choices: list[Any], **more: Any) -> dict[str, Any]:
        return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices, **more}

    def part(at: int, delta: dict[str, Any], reason: str | None = None) -> list[Any]:
        return [{"index": at, "delta": delta, "logprobs": None, "finish_reason": reason}]

    events = [event(part(at, {"role": "assistant", "content": "", "refusal": None})) for at in range(len(texts))]
    for start in range(0, max(map(len, texts)), piece):
        events += [event(part(at, {"content": text[start : start + piece]})) for at, text in enumerate(texts) if text[start:]]
    events += [event(part(0, {"tool_calls": [CALL]}))] if call else []
    events += [event(part(at, {}, "tool_calls" if call else "length")) for at in range(len(texts))]
    events.append(event([], usage=USAGE))
    return "".join(f"data: {json.dumps(one)}\n\n" for one in events).encode() + b"data: [DONE]\n\n"


def read(made: Codec, asked: dict[str, Any], raw: bytes, size: int) -> tuple[dict[int, list[Any]], int]:
    """({choice: text, end, stop met, calls}, tokens), and that nothing empty was told."""
    decoder = made.stream(asked)
    chunks = [chunk for at in range(0, len(raw), size) for chunk in decoder.feed(raw[at : at + size])] + decoder.finish()
    found: dict[int, list[Any]] = {}
    for chunk in chunks:
        assert chunk.data["choices"] or chunk.usage
        for one in chunk.data["choices"]:
            told = found.setdefault(one["index"], ["", None, None, 0])
            told[0] += one["delta"].get("content") or ""
            told[1:3] = [one["finish_reason"] or told[1], one.get("stop_reason") or told[2]]
            told[3] += len(one["delta"].get("tool_calls", ()))
        assert chunk.text == "".join(one["delta"].get("content") or "" for one in chunk.data["choices"] if one["index"] == 0)
    usage = next(chunk.usage for chunk in chunks if chunk.usage is not None)
    return found, usage.completion


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("piece", [1, 3, 50])
def test_a_stream_is_cut_choice_by_choice_and_counted_whole(size: int, piece: int) -> None:
    raw = streamed("o3-2025-04-16", TEXT, "nothing\nObserv", piece=piece)
    found, tokens = read(codec(), {"stop": STOP}, raw, size)
    assert found == {0: ["Thought: löok", "stop", STOP, 0], 1: ["nothing\nObserv", "length", None, 0]}
    assert tokens == 7


def test_what_was_held_back_comes_before_a_call_and_none_comes_behind_a_cut() -> None:
    found, _ = read(codec(), {"stop": [STOP]}, streamed("gpt-5", "look\nObs", call=True), 50)
    assert found == {0: ["look\nObs", "tool_calls", None, 1]}
    found, _ = read(codec(), {"stop": [STOP]}, streamed("gpt-5", TEXT, call=True), 50)
    assert found == {0: ["Thought: löok", "stop", STOP, 0]}


def test_a_whole_answer_is_cut() -> None:
    answer = codec().decode(200, {}, whole("o3-2025-04-16", TEXT, "more"), now=0, asked={"stop": [STOP]})
    told = [(one["message"]["content"], one["finish_reason"], one.get("stop_reason")) for one in answer.data["choices"]]
    assert told == [("Thought: löok", "stop", STOP), ("more", "length", None)]
    assert answer.text == "Thought: löok" and answer.finish_reason == "stop" and answer.usage and answer.usage.completion == 7


def test_who_stops_by_itself_is_not_cut_and_log_probabilities_never() -> None:
    answer = codec().decode(200, {}, whole("gpt-4o-2024-08-06", TEXT), now=0, asked={"stop": [STOP]})
    assert answer.text == TEXT
    found, _ = read(codec(), {"stop": [STOP]}, streamed("gpt-4o", TEXT), 50)
    assert found[0][0] == TEXT
    with pytest.raises(AttemptFailed) as caught:
        sent({"stop": STOP, "logprobs": True, "reasoning_effort": "none"}, "gpt-5.2")
    assert caught.value.error.param == "stop"


def test_azure_by_its_deployments_name_cuts_whatever_answers() -> None:
    azure = AzureProvider(base_url="https://x.openai.azure.com", api_key="k").build("az", "")
    wire = json.loads(azure.encode({"messages": HI, "stop": [STOP], "max_tokens": 3}, "gpt-5", stream=False).body)
    assert wire.keys().isdisjoint({"stop", "max_tokens"}) and wire["max_completion_tokens"] == 3
    assert azure.decode(200, {}, whole("our-name", TEXT), now=0, asked={"stop": [STOP]}).text == "Thought: löok"
