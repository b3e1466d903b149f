"""Lanes, breakers and the retry budget stand before everything that goes to a provider, not before chat alone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import httpx
import pytest
from rough import Start, ask
from scripted import Line, Provider
from stopwatch import within

from gateway.config import UpstreamRules
from gateway.providers.codec import AttemptFailed
from gateway.resilience.gate import Gate
from gateway.resilience.lanes import Lane
from optimizer.routing.plan import Candidate

SETTINGS = "surface: {embeddings: first, images: first, audio: first, moderations: {provider: first, model: m}}\n"
ONE = "upstreams: {first: {max_concurrent: 1, max_queue: 0}}\n"
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"model": "first/m", "input": "hi"},
    "/v1/moderations": {"input": "hi"},
    "/v1/images/generations": {"model": "first/m", "prompt": "a hat"},
    "/v1/audio/speech": {"model": "first/m", "input": "hi", "voice": "alloy"},
    "/v1/messages": {"model": "triage", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "/v1/responses": {"model": "triage", "input": "hi"},
    "/v1/completions": {"model": "triage", "prompt": "hi"},
    "/v1/chat/completions": {"model": "triage", "messages": [{"role": "user", "content": "hi"}]},
}


async def _leaves(client: httpx.AsyncClient, first: Provider, path: str) -> None:
    """Sends a request that the provider lets hang, and goes away once it is there."""
    before = len(first.seen)
    call = asyncio.create_task(client.post(path, json=REQUESTS[path]))
    while len(first.seen) == before:
        await asyncio.sleep(0.005)
    call.cancel()
    async with within(0.25):
        await first.seen[-1].peer_left.wait()


@pytest.mark.parametrize("path", sorted(REQUESTS))
async def test_a_provider_that_is_full_is_full_for_every_api(start: Start, first: Provider, path: str) -> None:
    async def hang(line: Line) -> None:
        await line.hang()

    first.behave = hang
    async with start({"first": first.url}, settings=SETTINGS + ONE) as (_, client):
        holding = asyncio.create_task(ask(client))
        while not first.seen:
            await asyncio.sleep(0.005)
        answer = await client.post(path, json=REQUESTS[path])
        busy = 529 if path == "/v1/messages" else 503  # as Anthropic's own clients know it
        assert answer.status_code == busy and int(answer.headers["retry-after"]) >= 1
        assert len(first.seen) == 1
        holding.cancel()
        async with within(0.25):
            await first.seen[0].peer_left.wait()
        await _leaves(client, first, path)  # the place was free again, and is once more
        await _leaves(client, first, path)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/moderations", "/v1/images/generations", "/v1/audio/speech"])
async def test_a_failing_provider_is_left_alone_whatever_is_asked_of_it(
    start: Start, first: Provider, path: str
) -> None:
    async def broken(line: Line) -> None:
        await line.answer(500, {"error": {"message": "no"}})

    first.behave = broken
    async with start({"first": first.url}, settings=SETTINGS) as (_, client):
        codes = [(await client.post(path, json=REQUESTS[path])).status_code for _ in range(30)]
        asked = len(first.seen)
        answer = await client.post(path, json=REQUESTS[path])
    assert answer.status_code == 503 and answer.json()["error"]["code"] == "providers_failing"
    assert answer.headers["x-should-retry"] == "false" and int(answer.headers["retry-after"]) >= 1
    assert len(first.seen) == asked <= 20 and set(codes) <= {502, 503}


async def test_a_passed_on_stream_keeps_its_place_until_it_ends(start: Start, first: Provider) -> None:
    go_on = asyncio.Event()

    async def slow(line: Line) -> None:
        await line.start(200, {"content-type": "audio/mpeg", "transfer-encoding": "chunked"})
        line.writer.write(b"3\r\nabc\r\n")
        await go_on.wait()
        line.writer.write(b"3\r\ndef\r\n0\r\n\r\n")

    first.behave = slow
    path = "/v1/audio/speech"
    async with start({"first": first.url}, settings=SETTINGS + ONE) as (_, client):
        running = asyncio.create_task(client.post(path, json=REQUESTS[path]))
        while not first.seen:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert (await ask(client)).status_code == 503
        go_on.set()
        assert (await running).content == b"abcdef"
        assert (await client.post(path, json=REQUESTS[path])).status_code == 200


async def test_the_learners_questions_wait_while_clients_are_served(start: Start, first: Provider) -> None:
    go_on = asyncio.Event()

    async def behave(line: Line) -> None:
        if line.seen.body["messages"][-1]["content"] == "slow":
            await go_on.wait()
        await line.answer()

    first.behave = behave
    learning = (
        "  - name: taught\n    candidates: [{provider: first, model: m}]\n    capture: {rate: 1.0}\n"
        "    teacher: {provider: first, model: m, may_train_on_outputs: true}\n"
        "    learn: {ceiling_rate: 1.0, ceiling_calls: 1000}\n"
    )
    two = "upstreams: {first: {max_concurrent: 2, max_queue: 4}}\n"
    async with start({"first": first.url}, learning, two) as (_, client):
        slow = asyncio.create_task(ask(client, messages=[{"role": "user", "content": "slow"}]))
        while not first.seen:
            await asyncio.sleep(0.005)
        for count in (2, 3):  # the second place is for clients: the questions about these calls wait
            assert (await ask(client, model="taught")).status_code == 200
            await asyncio.sleep(0.03)
            assert len(first.seen) == count
        go_on.set()
        assert (await slow).status_code == 200
        async with asyncio.timeout(60):
            while len(first.seen) < 5:
                await asyncio.sleep(0.005)


# ------------------------------------------------------------------ the parts
async def test_who_yields_takes_half_of_the_places_and_waits_behind_everybody() -> None:
    lane, order = Lane("p", UpstreamRules(max_concurrent=4, max_queue=10)), []

    async def enter(name: str, *, yields: bool) -> None:
        await lane.enter(5.0, may_wait=True, yields=yields)
        order.append(name)

    for name in ("quiet 1", "quiet 2"):
        await enter(name, yields=True)
    quiet = asyncio.create_task(enter("quiet 3", yields=True))
    await asyncio.sleep(0)
    assert order == ["quiet 1", "quiet 2"] and lane.active == 2
    for name in ("live 1", "live 2"):
        await enter(name, yields=False)
    live = asyncio.create_task(enter("live 3", yields=False))
    await asyncio.sleep(0)
    assert (lane.active, lane.waiting) == (4, 2)
    lane.leave(0.01)
    await live
    assert order[-1] == "live 3" and not quiet.done()
    lane.leave(0.01)
    lane.leave(0.01)
    await asyncio.sleep(0)
    assert not quiet.done() and lane.active == 2
    lane.leave(0.01)
    await quiet
    assert order[-1] == "quiet 3" and (lane.active, lane.waiting) == (2, 0)


async def test_who_yields_and_gives_up_leaves_no_trace() -> None:
    lane = Lane("p", UpstreamRules(max_concurrent=1, max_queue=1))
    await lane.enter(1.0, may_wait=True)
    waiting = asyncio.create_task(lane.enter(5.0, may_wait=True, yields=True))
    await asyncio.sleep(0)
    with pytest.raises(AttemptFailed) as full:
        await lane.enter(5.0, may_wait=True, yields=True)
    assert full.value.failure.kind == "busy"
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    with pytest.raises(AttemptFailed):
        await lane.enter(0.01, may_wait=True, yields=True)
    lane.leave(0.01)
    assert (lane.active, lane.waiting) == (0, 0)


async def test_one_budget_of_retries_for_all() -> None:
    gate = Gate()
    for _ in range(100):
        gate.requested()
    taken = 0
    while gate.may_retry(0.1):
        gate.retried()
        taken += 1
    assert taken == 15  # five to begin with, and a tenth


async def test_an_attempt_that_was_called_off_says_nothing_about_the_candidate() -> None:
    gate, candidate = Gate(), Candidate("p", "m")
    for _ in range(30):
        with contextlib.suppress(asyncio.CancelledError), await gate.enter(candidate, {}, 1.0):
            raise asyncio.CancelledError
    assert gate.breakers.healthy(candidate)
