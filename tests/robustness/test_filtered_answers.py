"""``fallback_on: content_filter`` and answers that a provider's filter stopped: whole ones, and streams before a word."""

from __future__ import annotations

from typing import Any

import pytest
from rough import Start, ask, events
from scripted import COMPLETION, Line, Provider, chunk, sse

FILTERED = "    fallback_on: [failed, content_filter]\n"
USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
DOLLARS = 2.5
"""What the tokens of the answer that was given up cost."""
STOPPED = chunk({}, "content_filter")
TOLD = {**chunk({}), "choices": [], "usage": USAGE}


def streams(provider: Provider, *chunks: Any) -> None:
    async def behave(line: Line) -> None:
        await line.stream(sse(list(chunks)))

    provider.behave = behave


def answers(provider: Provider, *choices: Any) -> None:
    async def behave(line: Line) -> None:
        await line.answer(200, {**COMPLETION, "choices": list(choices), "usage": USAGE})

    provider.behave = behave


def choice(finish: str, at: int = 0, **message: Any) -> Any:
    return {"index": at, "message": {"role": "assistant", "content": "", **message}, "finish_reason": finish}


def words(text: str) -> str:
    told = [one for one in events(text) if one != "[DONE]"]
    return "".join(one["choices"][0]["delta"].get("content") or "" for one in told if one["choices"])


@pytest.mark.parametrize(
    "before",
    [
        [],
        [chunk({"role": "assistant", "content": ""})],
        [chunk({"role": "assistant", "content": ""}), chunk({"refusal": "I can't help with that."})],
    ],
    ids=["nothing", "a role", "why"],
)
async def test_a_stream_that_the_filter_stopped_before_a_word_goes_to_the_next(
    start: Start, first: Provider, spare: Provider, before: list[Any]
) -> None:
    streams(first, *before, STOPPED, TOLD)
    async with start({"first": first.url, "spare": spare.url}, FILTERED) as (served, client):
        answer = await ask(client, stream=True)
    assert answer.headers["x-understudy-candidate"] == "spare/m"
    assert words(answer.text) == "hello"
    assert "content_filter" not in answer.text and "can't help" not in answer.text
    (record,) = served.records()
    assert [one.outcome for one in record.attempts] == ["refused", "ok"]  # type: ignore[attr-defined]
    assert record.cost_usd > DOLLARS  # type: ignore[attr-defined]


async def test_a_stream_that_said_a_word_stays_as_it_is(
    start: Start, first: Provider, spare: Provider
) -> None:
    streams(first, chunk({"role": "assistant", "content": ""}), chunk({"content": "I"}), STOPPED, TOLD)
    async with start({"first": first.url, "spare": spare.url}, FILTERED) as (_, client):
        answer = await ask(client, stream=True)
    assert words(answer.text) == "I" and "content_filter" in answer.text
    assert not spare.seen


@pytest.mark.parametrize("extra", ["", "    fallback_on: [failed]\n"])
async def test_without_the_word_the_client_gets_what_the_filter_left(
    start: Start, first: Provider, spare: Provider, extra: str
) -> None:
    streams(first, STOPPED, TOLD)
    async with start({"first": first.url, "spare": spare.url}, extra) as (_, client):
        answer = await ask(client, stream=True)
    assert "content_filter" in answer.text and not spare.seen


async def test_the_last_candidates_answer_is_the_clients_whatever_stopped_it(
    start: Start, first: Provider, spare: Provider
) -> None:
    for one in (first, spare):
        streams(one, STOPPED, TOLD)
    async with start({"first": first.url, "spare": spare.url}, FILTERED) as (_, client):
        answer = await ask(client, stream=True)
    assert answer.headers["x-understudy-candidate"] == "spare/m" and "content_filter" in answer.text


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "hi"},
        {"reasoning_content": "hm"},
        {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]},
    ],
    ids=["words", "thoughts", "a call"],
)
async def test_nothing_of_a_stream_is_lost_or_waits_for_its_end(
    start: Start, first: Provider, spare: Provider, delta: Any
) -> None:
    role, begun = chunk({"role": "assistant", "content": ""}), chunk(delta)

    async def behave(line: Line) -> None:
        await line.start(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        raw = sse([role, begun], done=False)
        line.writer.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
        await line.hang()

    first.behave = behave
    body = {"model": "triage", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with (
        start({"first": first.url, "spare": spare.url}, FILTERED) as (_, client),
        client.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        got = ""
        async for text in answer.aiter_text():
            got += text
            if len(told := events(got)) == 2 and got.endswith("\n\n"):
                break
    assert told[0]["choices"][0]["delta"]["role"] == "assistant"
    assert delta.items() <= told[1]["choices"][0]["delta"].items()


async def test_a_stream_that_breaks_before_its_first_word_goes_to_the_next(
    start: Start, first: Provider, spare: Provider
) -> None:
    async def behave(line: Line) -> None:
        await line.stream(sse([chunk({"role": "assistant", "content": ""})], done=False), cut=True)

    first.behave = behave
    async with start({"first": first.url, "spare": spare.url}, FILTERED) as (served, client):
        answer = await ask(client, stream=True)
    assert words(answer.text) == "hello"
    (record,) = served.records()
    assert [one.outcome for one in record.attempts] == ["failed", "ok"]  # type: ignore[attr-defined]


async def test_a_whole_answer_that_was_given_up_is_paid_and_told(
    start: Start, first: Provider, spare: Provider
) -> None:
    answers(first, choice("content_filter", content="Some wor"))
    async with start({"first": first.url, "spare": spare.url}, FILTERED) as (served, client):
        answer = await ask(client)
    assert answer.json()["choices"][0]["message"]["content"] == "hello"
    (record,) = served.records()
    assert [one.outcome for one in record.attempts] == ["refused", "ok"]  # type: ignore[attr-defined]
    assert record.cost_usd > DOLLARS  # type: ignore[attr-defined]


async def test_one_good_choice_of_several_is_an_answer_and_so_is_a_models_own_refusal(
    start: Start, first: Provider, spare: Provider
) -> None:
    async with start({"first": first.url, "spare": spare.url}, FILTERED) as (_, client):
        answers(first, choice("content_filter"), choice("stop", 1, content="good"))
        several = await ask(client, n=2)
        answers(first, choice("stop", content=None, refusal="I can't help with that."))
        refused = await ask(client)
    assert [one["finish_reason"] for one in several.json()["choices"]] == ["content_filter", "stop"]
    assert refused.json()["choices"][0]["message"]["refusal"] == "I can't help with that."
    assert not spare.seen
