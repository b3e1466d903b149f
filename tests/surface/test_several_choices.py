"""``n`` choices where the provider gives one at a time: asked side by side, one answer, one record, honest sums."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_server import Gateway, gateway, write_policies
from scripted import Line, Provider, chunk, provider, sse
from surface_helpers import USAGE, completion

from gateway.storage.records import CallRecord

ASK: Any = [{"role": "user", "content": "hi"}]
SETTINGS = """upstreams: {first: {max_concurrent: 2, max_queue: 8}}
timeouts: {connect: 30, first_byte: 30, chunk_gap: 30, total: 60}
limits: {projects: {default: {tokens_per_minute: 1000000, budget_usd_day: 100}}}
"""
ONE = 30 * 2.5e-6 - 10 * 1.25e-6 + 12 * 10e-6
"""US dollars of one ask by ``USAGE``: 30 tokens of input of which 10 were cached, 12 of output."""


@pytest.fixture
async def spare() -> AsyncIterator[Provider]:
    async with provider() as made:
        yield made


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider, spare: Provider) -> AsyncIterator[Gateway]:
    urls = {"first": upstream.url, "second": spare.url}
    policies = write_policies(tmp_path / "policies", urls, gateway=SETTINGS)
    main = policies / "gateway.yaml"
    main.write_text(main.read_text().replace("traits: {", "traits: {most_choices: 1, ", 1))
    async with gateway(tmp_path, policies) as made:
        yield made


def counted() -> Any:
    """Answers with how many were asked before."""
    count = iter(range(1000))

    async def behave(line: Line) -> None:
        at = next(count)
        if not line.seen.body.get("stream"):
            await line.answer(200, completion({"content": f"answer {at}"}, "length" if at else "stop"))
            return
        chunks = [
            chunk({"role": "assistant", "content": ""}), *(chunk({"content": word}) for word in ("a", "b", str(at))),
            chunk({}, "stop"), {**chunk({}), "choices": [], "usage": USAGE},
        ]  # fmt: skip
        await line.stream(sse(chunks), piece=40)

    return behave


async def test_a_whole_answer(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    upstream.behave = counted()
    raw = await client.chat.completions.with_raw_response.create(
        model="triage", messages=ASK, n=3, seed=7, max_tokens=50, extra_body={"top_k": 4}
    )
    answer = raw.parse()
    assert [one.index for one in answer.choices] == [0, 1, 2]
    assert {one.message.content for one in answer.choices} == {"answer 0", "answer 1", "answer 2"}
    assert {one.finish_reason for one in answer.choices} == {"stop", "length"}
    usage = answer.usage
    assert usage and (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (90, 36, 126)
    assert usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens == 30
    sent = [seen.body for seen in upstream.seen]
    assert all("n" not in body and body["top_k"] == 4 for body in sent)
    assert sorted(body["seed"] for body in sent) == [7, 8, 9]
    (call,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert call.cost_usd == pytest.approx(3 * ONE) == float(raw.headers["x-understudy-cost-usd"])
    assert (call.prompt_tokens, call.completion_tokens) == (90, 36)
    assert [one.outcome for one in call.attempts] == ["ok"] * 3
    assert call.prompt_cache_usd == pytest.approx(3 * 10 * 1.25e-6)
    assert call.text is not None and call.text.answer.count(b'"index"') == 3


async def test_a_stream_with_right_indexes_though_only_two_may_be_asked_at_once(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    """The third ask waits for a place that one of the others holds until its stream ends."""
    upstream.behave = counted()
    texts, ends, ids, usages = {}, [], set(), []
    async for one in await client.chat.completions.create(
        model="triage", messages=ASK, n=3, stream=True, stream_options={"include_usage": True}
    ):
        ids.add(one.id)
        usages += [one.usage] if one.usage else []
        for choice in one.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
            ends += [choice.index] if choice.finish_reason else []
    assert sorted(texts.values()) == ["ab0", "ab1", "ab2"] and sorted(texts) == sorted(ends) == [0, 1, 2]
    assert len(ids) == 1
    (usage,) = usages
    assert (usage.prompt_tokens, usage.completion_tokens) == (90, 36)
    (call,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert call.cost_usd == pytest.approx(3 * ONE) and call.status == "ok"


async def test_the_helper_of_the_sdk_reads_it(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = counted()
    async with client.chat.completions.stream(model="triage", messages=ASK, n=2) as stream:
        final = await stream.get_final_completion()
    assert sorted(one.message.content or "" for one in final.choices) == ["ab0", "ab1"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_one_that_fails_for_good_sends_the_whole_to_the_next(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, spare: Provider, streamed: bool
) -> None:
    """What had been answered is paid for and counted, and the next provider, which gives several, is asked once."""
    answered, usual = asyncio.Event(), counted()

    async def first(line: Line) -> None:
        await usual(line)
        answered.set()

    async def fails(line: Line) -> None:
        await answered.wait()
        await asyncio.sleep(0.1)  # the answer before this one has been read by then
        await line.answer(500, {"error": {"message": "broken"}})

    async def several(line: Line) -> None:
        base = completion({"content": "hi"})
        if not line.seen.body.get("stream"):
            base["choices"] = [{**base["choices"][0], "index": at} for at in range(line.seen.body["n"])]
            await line.answer(200, base)
            return
        pieces = [chunk({"content": "hi"}, "stop") for _ in range(2)]
        pieces[1]["choices"][0]["index"] = 1
        await line.stream(sse([*pieces, {**chunk({}), "choices": [], "usage": USAGE}]))

    upstream.script, spare.behave = [first, fails, fails, fails, usual], several
    made = await client.chat.completions.create(model="triage", messages=ASK, n=2, stream=streamed)
    found = [one async for one in made] if streamed else [made]
    assert {choice.index for one in found for choice in one.choices} == {0, 1}
    assert [seen.body["n"] for seen in spare.seen] == [2]
    assert len(upstream.seen) == 4  # three tries in all, the one that was answered is not asked again
    (call,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert call.cost_usd == pytest.approx(2 * ONE) and call.provider == "second"


@pytest.mark.parametrize("streamed", [False, True])
async def test_one_that_fails_is_tried_again_alone(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, spare: Provider, streamed: bool
) -> None:
    """The other's answer is kept: it is not asked, nor paid for, a second time, and nobody else is asked."""
    usual = counted()

    async def fails(line: Line) -> None:
        await line.answer(500, {"error": {"message": "broken"}})

    upstream.script, upstream.behave = [usual, fails], usual
    made = await client.chat.completions.create(model="triage", messages=ASK, n=2, stream=streamed)
    found = [one async for one in made] if streamed else [made]
    assert {choice.index for one in found for choice in one.choices} == {0, 1}
    assert len(upstream.seen) == 3 and not spare.seen
    (call,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert call.cost_usd == pytest.approx(2 * ONE) and call.status == "ok"
    assert sorted(one.outcome for one in call.attempts) == ["failed", "ok", "ok"]


async def test_when_all_fail_the_candidate_does(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, spare: Provider
) -> None:
    """Nobody waits for a retry then: the next candidate is asked at once, as after any failure."""

    async def fails(line: Line) -> None:
        await line.answer(503, {"error": {"message": "down"}})

    async def several(line: Line) -> None:
        base = completion({"content": "hi"})
        base["choices"] = [{**base["choices"][0], "index": at} for at in range(line.seen.body["n"])]
        await line.answer(200, base)

    upstream.behave, spare.behave = fails, several
    answer = await client.chat.completions.create(model="triage", messages=ASK, n=2)
    assert len(answer.choices) == 2 and len(upstream.seen) == 2 and len(spare.seen) == 1


async def test_one_that_fails_for_good_is_an_error_and_what_was_answered_is_paid(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    usual, answered = counted(), asyncio.Event()

    async def first(line: Line) -> None:
        await usual(line)
        answered.set()

    async def fails(line: Line) -> None:
        await answered.wait()
        await line.answer(500, {"error": {"message": "broken"}})

    upstream.script, upstream.behave = [first], fails
    with pytest.raises(openai.APIStatusError) as told:
        await client.with_options(max_retries=0).chat.completions.create(model="first/m", messages=ASK, n=2)
    assert told.value.status_code >= 500 and told.value.response.headers["x-should-retry"] == "false"
    assert len(upstream.seen) == 4
    (call,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert call.cost_usd == pytest.approx(ONE) and call.status == "error"


async def test_a_cut_in_one_stream_ends_all_in_an_error(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    async def cut(line: Line) -> None:
        await line.stream(sse([chunk({"content": "a"})], done=False), cut=True)

    async def goes_on(line: Line) -> None:
        await line.start(200, {"content-type": "text/event-stream"})
        line.writer.write(sse([chunk({"content": "b"})], done=False))
        await line.hang()

    upstream.script = [goes_on, cut]
    with pytest.raises(openai.APIError):
        async for _ in await client.chat.completions.create(model="triage", messages=ASK, n=2, stream=True):
            pass
    await asyncio.wait_for(next(one for one in upstream.seen).peer_left.wait(), 30)
    (call,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert call.status == "upstream_cut"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_client_that_leaves_frees_them_all(
    client: openai.AsyncOpenAI, upstream: Provider, streamed: bool
) -> None:
    async def hang(line: Line) -> None:
        await line.hang()

    upstream.behave = hang
    asking = asyncio.ensure_future(
        client.chat.completions.create(model="triage", messages=ASK, n=2, stream=streamed)
    )
    while len(upstream.seen) < 2:
        await asyncio.sleep(0.01)
    asking.cancel()
    for seen in upstream.seen:
        await asyncio.wait_for(seen.peer_left.wait(), 30)


async def test_limits_reserve_every_ask(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    async def reserved(model: str, n: int) -> int:
        raw = await client.chat.completions.with_raw_response.create(model=model, messages=ASK, n=n, max_tokens=100)
        return before - int(raw.headers["x-ratelimit-remaining-tokens"])

    upstream.behave = counted()
    before = 1_000_000
    once = await reserved("triage", 1)
    before -= 42  # what it really used
    assert await reserved("triage", 4) == 4 * once


async def test_where_the_provider_gives_several_it_is_asked_once(
    client: openai.AsyncOpenAI, spare: Provider
) -> None:
    async def several(line: Line) -> None:
        base = completion({"content": "hi"})
        base["choices"] = [{**base["choices"][0], "index": at} for at in range(line.seen.body["n"])]
        await line.answer(200, base)

    spare.behave = several
    answer = await client.chat.completions.create(model="second/m", messages=ASK, n=2)
    assert len(answer.choices) == 2 and len(spare.seen) == 1


