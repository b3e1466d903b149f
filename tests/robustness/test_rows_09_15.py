"""Too much at once, and clients that leave."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest
from rough import BODY, Start, ask
from scripted import Line, Provider, sse, usual
from stopwatch import Stopwatch, within

from gateway.config import UpstreamRules
from gateway.providers.codec import AttemptFailed
from gateway.resilience.lanes import Lane

LANES = "upstreams: {{first: {{max_concurrent: {0}, max_queue: {1}}}}}"


async def test_row_9_a_slow_provider_does_not_slow_the_others(
    start: Start, first: Provider, spare: Provider
) -> None:
    async def slow(line: Line) -> None:
        await asyncio.sleep(0.4)
        await line.answer()

    first.behave = slow
    extra = "  - name: quick\n    candidates: [{provider: spare, model: m}]\n"
    async with start({"first": first.url, "spare": spare.url}, extra, LANES.format(4, 500)) as (_, client):
        await ask(client, model="quick")
        alone = await _times(client, "quick")
        crowd = [asyncio.create_task(ask(client, model="first/m")) for _ in range(40)]
        await asyncio.sleep(0.2)
        beside = await _times(client, "quick")
        assert {one.status_code for one in await asyncio.gather(*crowd)} == {200}
    assert beside[len(beside) // 2] < 1.5 * alone[len(alone) // 2] + 0.02


async def _times(client: httpx.AsyncClient, model: str) -> list[float]:
    took = []
    for _ in range(20):
        watch = Stopwatch()
        assert (await ask(client, model=model)).status_code == 200
        took.append(watch.seconds)
    return sorted(took)


async def test_row_10_overload_is_shed_quickly_and_health_still_answers(
    start: Start, first: Provider
) -> None:
    relief = asyncio.Event()

    async def stuck(line: Line) -> None:
        await relief.wait()
        await line.answer()

    first.behave = stuck
    patience = LANES.format(4, 4) + "\ntimeouts: {connect: 5, first_byte: 30, total: 60}"
    async with start({"first": first.url}, settings=patience) as (_, client):
        await asyncio.gather(*[client.get("/healthz") for _ in range(30)])  # connections are open
        crowd = [asyncio.create_task(_timed(client)) for _ in range(30)]
        while sum(task.done() for task in crowd) < 22:  # what finds no place is told so while the others wait
            await asyncio.sleep(0.005)
        assert (await client.get("/healthz")).status_code == 200
        relief.set()
        done = await asyncio.gather(*crowd)
    served = [one for one, _ in done if one.status_code == 200]
    shed = [(one, took) for one, took in done if one.status_code == 503]
    assert len(served) == 8 and len(shed) == 22
    assert all(
        one.json()["error"]["code"] == "overloaded" and int(one.headers["retry-after"]) >= 1
        for one, _ in shed
    )
    own = sorted(int(one.headers["openai-processing-ms"]) for one, _ in shed)
    assert own[len(own) // 2] <= 50  # the gateway's own time; the client's is this test's


async def _timed(client: httpx.AsyncClient) -> tuple[httpx.Response, float]:
    watch = Stopwatch()
    return await ask(client), watch.seconds


async def test_row_10_a_full_lane_spills_over_to_the_next_candidate(
    start: Start, first: Provider, spare: Provider
) -> None:
    async def slow(line: Line) -> None:
        await asyncio.sleep(0.3)
        await line.answer()

    first.behave = slow
    async with start({"first": first.url, "spare": spare.url}, settings=LANES.format(2, 50)) as (_, client):
        answers = await asyncio.gather(*[ask(client) for _ in range(10)])
    names = [one.headers["x-understudy-candidate"] for one in answers]
    assert names.count("first/m") == 2 and names.count("spare/m") == 8


async def test_row_11_who_can_no_longer_be_served_in_time_is_dropped(start: Start, first: Provider) -> None:
    async def slow(line: Line) -> None:
        await asyncio.sleep(0.6)
        await line.answer()

    first.behave = slow
    async with start({"first": first.url}, settings=LANES.format(1, 50)) as (_, client):
        running = asyncio.create_task(ask(client))
        await asyncio.sleep(0.1)
        hurried = await client.post(
            "/v1/chat/completions", json=BODY, headers={"x-stainless-read-timeout": "0.2"}
        )
        assert hurried.status_code == 503
        assert (await running).status_code == 200
        await asyncio.sleep(0.1)
        assert len(first.seen) == 1  # no dead work


async def test_row_11_the_lane_itself() -> None:
    lane = Lane("p", UpstreamRules(max_concurrent=1, max_queue=1))
    await lane.enter(1.0, may_wait=True)
    waiting = asyncio.create_task(lane.enter(5.0, may_wait=True))
    await asyncio.sleep(0)
    with pytest.raises(AttemptFailed) as full:
        await lane.enter(5.0, may_wait=True)
    assert full.value.failure.kind == "busy"
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert (lane.active, lane.waiting) == (1, 0)
    late = asyncio.create_task(lane.enter(5.0, may_wait=True))
    await asyncio.sleep(0)
    lane.leave(1.0)
    late.cancel()  # the place was handed over, and is not lost
    with contextlib.suppress(asyncio.CancelledError):
        await late
    assert (lane.active, lane.waiting) == (0, 0)
    await lane.enter(1.0, may_wait=False)
    assert lane.active == 1


async def test_a_place_that_is_given_back_as_somebody_stops_waiting_is_not_lost() -> None:
    lane = Lane("p", UpstreamRules(max_concurrent=1))
    assert lane.take()
    waiting = asyncio.create_task(lane.enter(5.0, may_wait=True))
    await asyncio.sleep(0)
    waiting.cancel()  # its future is cancelled, and it has not heard of it yet
    lane.leave(0.1)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (lane.active, lane.waiting) == (0, 0) and lane.take()


async def _hang(line: Line) -> None:
    if line.seen.body.get("stream"):
        await line.start(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
    await line.hang()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("stream", [False, True])
async def test_row_13_a_client_that_leaves_before_the_first_byte_frees_the_provider(
    start: Start, first: Provider, path: str, stream: bool
) -> None:
    first.behave = _hang
    body = {"model": "triage", "stream": stream}
    body |= {"prompt": "hi"} if path == "/v1/completions" else {"messages": BODY["messages"]}
    async with start({"first": first.url}, settings=LANES.format(1, 0)) as (served, client):
        call = asyncio.create_task(client.post(path, json=body))
        while not first.seen:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
        call.cancel()
        async with within(0.25):
            await first.seen[0].peer_left.wait()
        first.behave = usual
        assert (await ask(client)).status_code == 200  # its place is free
        assert next(one.status for one in served.records()) == "client_closed"  # type: ignore[attr-defined]


async def test_row_14_a_client_that_leaves_mid_stream_frees_the_provider(
    start: Start, first: Provider
) -> None:
    async def forever(line: Line) -> None:
        with contextlib.suppress(ConnectionError):
            await line.stream(sse() * 1000, pause=0.01, piece=200)

    first.behave = forever
    async with start({"first": first.url}, settings=LANES.format(1, 0)) as (served, client):
        before = len(asyncio.all_tasks())
        for _ in range(10):
            async with client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as answer:
                await anext(answer.aiter_bytes())
            watch = Stopwatch()
            while served.app.state.upstream.connections()[0]:
                await asyncio.sleep(0.005)
            assert watch.seconds < 0.25
        await asyncio.sleep(0.1)
        assert len(asyncio.all_tasks()) <= before + 2
        records = served.records()
    assert {one.status for one in records} == {"client_closed"}  # type: ignore[attr-defined]
    assert all(one.completion_tokens > 0 and one.cost_usd for one in records)  # type: ignore[attr-defined]


async def test_row_15_after_two_thousand_cancelled_calls_everything_works(
    start: Start, first: Provider
) -> None:
    async def late(line: Line) -> None:
        await asyncio.sleep(0.03)
        await usual(line)

    first.behave = late
    # A busy machine may stand still for a second; the provider is not to blame for that here.
    patience = LANES.format(8, 64) + "\ntimeouts: {connect: 30, first_byte: 30, chunk_gap: 30, total: 60}"
    async with start({"first": first.url}, settings=patience) as (served, client):
        port = int(served.url.rsplit(":", 1)[1])
        gate = asyncio.Semaphore(64)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: {client.headers['authorization']}\r\n"
        payload = [
            client.build_request("POST", "/", json={**BODY, "stream": flag}).content for flag in (False, True)
        ]

        async def leave(number: int) -> None:
            body = payload[number % 2]
            async with gate:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
                await asyncio.sleep(0.002 * (number % 20))
                writer.transport.abort()

        await asyncio.gather(*[leave(number) for number in range(2000)])
        async with asyncio.timeout(60):
            while served.app.state.upstream.connections()[0] or len(served.app.state.drain):
                await asyncio.sleep(0.02)
        answers = [await ask(client, stream=bool(number % 2)) for number in range(100)]
        assert [one.text for one in answers if one.status_code != 200] == []
        assert served.app.state.upstream.connections()[0] == 0
