"""Everybody is down, clients storm, and what holds then: rows 6, 8, 12 and 24 at full size, row 51 by the order of
events instead of a clock."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from functools import partial

import pytest
from peak import Peak
from rough import BODY, Start, ask
from scripted import Line, Provider, usual
from stopwatch import within

from gateway.config import Hedge
from gateway.protocol import body as bodies
from gateway.resilience.breakers import Breakers
from gateway.resilience.hedging import Hedging
from optimizer.routing.plan import Candidate, Rung


async def _broken(line: Line) -> None:
    await line.answer(500, {"error": {"message": "no"}})


async def test_row_6_a_thousand_calls_while_all_are_down_cost_nothing(
    start: Start, first: Provider, spare: Provider
) -> None:
    first.behave = spare.behave = _broken
    async with start({"first": first.url, "spare": spare.url}) as (served, client):
        for _ in range(12):
            await ask(client)
        gate, peak = asyncio.Semaphore(32), Peak()
        asked = len(first.seen) + len(spare.seen)

        async def one() -> tuple[int, str, int]:
            async with gate:
                answer = await ask(client)
                own = int(answer.headers["openai-processing-ms"])
                return answer.status_code, answer.headers.get("retry-after", ""), own

        answers = await asyncio.gather(*[one() for _ in range(1000)])
        grown = peak.grown_mib
        assert not served.app.state.upstream.connections()[0] and not len(served.app.state.drain)
    told = [one for one in answers if one[0] == 503]
    assert len(told) >= 980 and all(int(wait) >= 1 for _, wait, _ in told)
    assert sorted(own for _, _, own in told)[len(told) // 2] <= 100
    assert len(first.seen) + len(spare.seen) - asked <= 40  # probes, and nothing else
    assert grown < 30  # the clients of this test live in the same process


async def test_row_12_a_storm_of_retries_is_not_passed_on_and_ends_with_its_cause(
    start: Start, first: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each client tries five times without a pause. What reaches the provider stays under 1.10 calls per request, and
    the first probe that is answered ends it, when a client comes back after the time it was told."""
    down, later = True, 0.0
    monkeypatch.setattr("gateway.bootstrap.Breakers", partial(Breakers, lambda: time.monotonic() + later))

    async def behave(line: Line) -> None:
        await (_broken if down else usual)(line)

    first.behave = behave
    async with start({"first": first.url}) as (_, client):
        gate, sent = asyncio.Semaphore(32), 0

        async def stormy() -> None:
            nonlocal sent
            async with gate:
                for _ in range(5):
                    sent += 1
                    if (await ask(client)).status_code == 200:
                        return

        await asyncio.gather(*[stormy() for _ in range(60)])
        assert sent == 300 and len(first.seen) <= 1.10 * sent
        assert len(first.seen) <= 60  # the breaker keeps even that from it
        down = False
        told = await ask(client)
        assert told.status_code == 503 and 1 <= int(told.headers["retry-after"]) <= 10  # a breaker's longest pause
        later = float(told.headers["retry-after"])
        assert {(await ask(client)).status_code for _ in range(20)} == {200}


async def test_row_12_without_a_breaker_the_budget_alone_bounds_the_calls(start: Start, first: Provider) -> None:
    """Every third call succeeds, so that nobody is left alone: retries stay a tenth of the requests."""
    turn = 0

    async def behave(line: Line) -> None:
        nonlocal turn
        turn += 1
        await (usual if turn % 3 == 0 else _broken)(line)

    first.behave = behave
    async with start({"first": first.url}) as (_, client):
        for _ in range(150):
            await ask(client)
    assert len(first.seen) <= 1.10 * 150 + 6


async def test_row_51_others_are_served_while_a_heavy_body_is_being_read(
    start: Start, first: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heavy body's reading is stopped in its thread until others have been answered: no clock decides this."""
    reading, go_on, inside = threading.Event(), threading.Event(), []
    real = bodies.decode_object

    def held(raw: bytes) -> object:
        if len(raw) > 1_000_000:
            inside.append(threading.current_thread() is threading.main_thread())
            reading.set()
            assert go_on.wait(60)
        return real(raw)

    for module in [one for one in sys.modules.values() if getattr(one, "decode_object", None) is real]:
        monkeypatch.setattr(module, "decode_object", held)  # whoever reads bodies
    heavy = json.dumps({**BODY, "messages": BODY["messages"] * 100_000}).encode()
    async with start({"first": first.url}) as (_, client):
        big = asyncio.create_task(client.post("/v1/chat/completions", content=heavy))
        async with asyncio.timeout(20):
            while not reading.is_set():
                await asyncio.sleep(0.01)
        try:
            for number in range(10):
                assert (await ask(client, stream=bool(number % 2))).status_code == 200
            assert not big.done()
        finally:
            go_on.set()
        answer = await big
    assert inside == [False] and answer.status_code == 400


# ------------------------------------------------------------------ hedges
def test_without_after_ms_a_hedge_waits_as_long_as_95_of_100_calls_took() -> None:
    hedging, rule = Hedging(), Hedge()
    for count in range(19):
        hedging.took("p/m", 0.1)
        assert hedging.after("p/m", rule) is None, count  # too little is known
    for number in range(181):
        hedging.took("p/m", 0.1 if number % 20 else 2.0)
    found = hedging.after("p/m", rule)
    assert found is not None and 0.1 <= found <= 2.0
    for _ in range(300):
        hedging.took("p/m", 0.5)
    assert hedging.after("p/m", rule) == 0.5  # the recent ones count
    assert hedging.after("other/m", rule) is None and hedging.after("p/m", Hedge(after_ms=30)) == 0.03


async def test_a_hedge_after_the_95th_percentile_is_recorded_once_and_its_loser_hung_up_on(
    start: Start, first: Provider, spare: Provider
) -> None:
    asked = 0

    async def behave(line: Line) -> None:
        nonlocal asked
        asked += 1
        if asked > 25:
            await line.hang()
        await usual(line)

    first.behave = behave
    extra = (
        "  - name: hedged\n    policy: twice\n"
        "policies:\n  - name: twice\n    hedge: {budget_share: 0.5}\n"
        "    candidates: [{provider: first, model: m}, {provider: spare, model: m}]\n"
    )
    async with start({"first": first.url, "spare": spare.url}, extra) as (served, client):
        for number in range(25):
            assert (await ask(client, model="hedged", stream=bool(number % 2))).status_code == 200
        early = len(spare.seen)  # a busy machine may have been slow once or twice
        for stream in (False, True):
            answer = await ask(client, model="hedged", stream=stream)
            assert answer.status_code == 200 and answer.headers["x-understudy-candidate"] == "spare/m"
            async with within(1):
                await first.seen[-1].peer_left.wait()
        records = served.records()
    assert len(spare.seen) == early + 2 and len(records) == 27
    for record in records[-2:]:
        assert record.provider == "spare" and record.cost_usd == pytest.approx(0.003)  # type: ignore[attr-defined]
        assert sorted(one.outcome for one in record.attempts) == ["cancelled", "ok"]  # type: ignore[attr-defined]


async def test_a_client_that_leaves_hangs_up_on_both(start: Start, first: Provider, spare: Provider) -> None:
    async def hang(line: Line) -> None:
        await line.hang()

    first.behave = spare.behave = hang
    extra = (
        "  - name: hedged\n    policy: twice\n"
        "policies:\n  - name: twice\n    hedge: {after_ms: 10, budget_share: 0.5}\n"
        "    candidates: [{provider: first, model: m}, {provider: spare, model: m}]\n"
    )
    async with start({"first": first.url, "spare": spare.url}, extra) as (served, client):
        for hedged in (False, True):  # the first call has earned half of a hedge only
            call = asyncio.create_task(ask(client, model="hedged"))
            count = len(first.seen)
            while len(first.seen) == count:
                await asyncio.sleep(0.005)
            while hedged and not spare.seen:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)
            call.cancel()
            async with within(0.25):
                await first.seen[-1].peer_left.wait()
        async with within(0.25):
            await spare.seen[0].peer_left.wait()
        assert len(served.records()) == 2


# ------------------------------------------------------------------ the last one standing
@pytest.mark.parametrize("count", [1, 2, 5])
def test_row_8_outliers_are_left_out_but_never_the_last_one(count: int) -> None:
    now = 0.0
    breakers = Breakers(lambda: now)
    rungs = [Rung(Candidate(f"p{number}", "m"), "plain") for number in range(count)]
    for step in range(2000):
        usable = breakers.usable(rungs)
        assert usable, step
        for rung in usable:
            name = rung.candidate.name
            breakers.started(name)
            if step % 5 < 3:
                breakers.failed(name)
            else:
                breakers.succeeded(name)
        now += 0.02
    sick = Breakers(lambda: now)
    for rung in rungs:
        sick.checked(rung.candidate.provider, well=False)
    assert sick.usable(rungs) == rungs  # health checks alone take nobody's last provider away
