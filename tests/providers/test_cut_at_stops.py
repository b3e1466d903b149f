"""Answers that the gateway cuts at a stop sequence, because their provider's API has no word for it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from gateway.providers import OpenAIProvider
from gateway.providers.codec import AttemptFailed, Codec
from gateway.providers.cut_at_stops import Cut

TEXT = "Thought: löok\nObservation: rain\nObservation: END"
CASES: dict[str, tuple[list[str], str, str | None]] = {
    "one": (["\nObservation:"], "Thought: löok", "\nObservation:"),
    "the first of several": (["END", "rain", "\nObs"], "Thought: löok", "\nObs"),
    "of two that begin together the one that is met first": (["\nObservation", "\nObs"], "Thought: löok", "\nObs"),
    "of two that end together the longer": (["Obs", "\nObs"], "Thought: löok", "\nObs"),
    "one inside another": (["Observation: rain", "serv"], "Thought: löok\nOb", "serv"),
    "at the beginning": (["Thought"], "", "Thought"),
    "at the end": (["END"], TEXT[:-3], "END"),
    "never": (["END.", "ENDE"], TEXT, None),
    "what begins again inside itself": (["nn", "löokk"], TEXT, None),
}


@pytest.mark.parametrize("name", CASES)
def test_wherever_a_text_is_split_it_is_cut_alike(name: str) -> None:
    stops, told, met = CASES[name]
    rng = random.Random(0)
    for _ in range(200):
        cut, left, found = Cut(stops), TEXT, ""
        while left:
            size = rng.choice((1, 2, 3, 7, 40))
            found, left = found + cut.feed(left[:size]), left[size:]
        found += cut.flush()
        assert (found, cut.met, cut.length) == (told, met, len(told))


def test_no_more_is_held_back_than_may_be_a_beginning() -> None:
    cut = Cut(["\nObservation:"])
    assert [cut.feed(one) for one in ("a", "b\nOb", "x", "\n", "Observe")] == ["a", "b", "\nObx", "", "\nObserve"]


# ---------------------------------------------------------------- the codec
STOPS = {"stop": ["\nObservation:"]}


def codec(**more: Any) -> Codec:
    return OpenAIProvider(api_key="k", api="responses", **more).build("p", "")


def page(start: int, end: int) -> dict[str, Any]:
    return {"type": "url_citation", "start_index": start, "end_index": end, "url": f"https://a.example/{start}", "title": "A"}


CALL = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "c", "name": "f", "arguments": "{}"}
SPOKEN: dict[str, Any] = {
    "id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
    "content": [{"type": "output_text", "text": TEXT, "annotations": [page(0, 7), page(20, 31)], "logprobs": []}],
}  # fmt: skip
USAGE = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
RESPONSE: dict[str, Any] = {"id": "resp_1", "status": "completed", "model": "m", "error": None, "output": [SPOKEN, CALL], "usage": USAGE}


def streamed(response: dict[str, Any]) -> bytes:
    place = {"output_index": 0, "item_id": "msg_1", "content_index": 0}
    made: list[dict[str, Any]] = [{"type": "response.created", "response": {**response, "output": []}}]
    made += [{"type": "response.output_text.delta", **place, "delta": TEXT[at : at + 5]} for at in range(0, len(TEXT), 5)]
    made += [{"type": "response.output_text.annotation.added", **place, "annotation_index": at, "annotation": one}
             for at, one in enumerate(SPOKEN["content"][0]["annotations"])]  # fmt: skip
    made += [{"type": "response.output_item.done", "output_index": 0, "item": SPOKEN},
             {"type": "response.output_item.added", "output_index": 1, "item": {**CALL, "arguments": ""}},
             {"type": "response.output_item.done", "output_index": 1, "item": CALL},
             {"type": f"response.{response['status']}", "response": response}]  # fmt: skip
    return "".join(f"data: {json.dumps(one, ensure_ascii=False)}\n\n" for one in made).encode()


def read(asked: dict[str, Any], response: dict[str, Any], *, stream: bool, size: int = 3) -> dict[str, Any]:
    """One choice of an answer, put together, and what was counted."""
    if not stream:
        answer = codec().decode(200, {}, json.dumps(response).encode(), now=0, asked=asked)
        (choice,) = answer.data["choices"]
        message = choice["message"]
        calls = [one["id"] for one in message.get("tool_calls", ())]
        notes, text, used = message["annotations"], message["content"], answer.usage
        return told(text, calls, notes, choice, used)
    decoder, raw = codec().stream(asked), streamed(response)
    chunks = [chunk for at in range(0, len(raw), size) for chunk in decoder.feed(raw[at : at + size])] + decoder.finish()
    choices = [one for chunk in chunks for one in chunk.data["choices"]]
    deltas = [one["delta"] for one in choices]
    calls = [one["id"] for delta in deltas for one in delta.get("tool_calls", ()) if "id" in one]
    notes = [one for delta in deltas for one in delta.get("annotations", ())]
    text = "".join(delta.get("content") or "" for delta in deltas)
    return told(text, calls, notes, choices[-1], chunks[-1].usage)


def told(text: str, calls: list[str], notes: list[Any], choice: dict[str, Any], used: Any) -> dict[str, Any]:
    starts = [one["url_citation"]["start_index"] for one in notes]
    return {"text": text, "calls": calls, "cited": starts, "end": choice["finish_reason"], "met": choice.get("stop_reason"),
            "tokens": used.completion}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_nothing_behind_the_cut_is_told_and_all_of_it_is_counted(stream: bool) -> None:
    found = read(STOPS, RESPONSE, stream=stream)
    assert found == {"text": "Thought: löok", "calls": [], "cited": [0], "end": "stop", "met": "\nObservation:", "tokens": 7}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("asked", [{}, {"stop": ["nowhere"]}, {"stop": "  "}, {"stop": []}], ids=str)
def test_an_answer_that_meets_none_is_whole(asked: dict[str, Any], stream: bool) -> None:
    found = read(asked, RESPONSE, stream=stream)
    assert found == {"text": TEXT, "calls": ["c"], "cited": [0, 20], "end": "tool_calls", "met": None, "tokens": 7}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_a_filter_stopped_says_so_and_not_that_it_is_complete(stream: bool) -> None:
    filtered = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    found = read(STOPS, filtered, stream=stream)
    assert (found["text"], found["end"], found["met"]) == ("Thought: löok", "content_filter", None)


def test_log_probabilities_are_not_cut() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "logprobs": True, **STOPS}
    with pytest.raises(AttemptFailed) as caught:
        codec().encode(body, "gpt-4o", stream=False)
    assert (caught.value.failure.kind, caught.value.error.param) == ("unsupported", "stop")
    assert "stop" not in json.loads(codec(drop_params=True).encode(body, "gpt-4o", stream=False).body)
