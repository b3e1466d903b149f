"""Two gateways on one home and one real Redis: what one knows, the other knows too. They share nothing in the test's
process but the event loop."""

from __future__ import annotations

import asyncio
import base64
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from redis_server import RedisServer
from scripted import Behaviour, Line, Provider, provider, usual

from gateway.access.second_factor import VARIABLE, code_at, new_secret, step_at
from gateway.cli import main
from gateway.config import Config, UpstreamRules
from gateway.providers import OpenAIProvider
from gateway.providers.credentials import ProviderKey
from gateway.routing.observations import Observations
from gateway.server import run
from gateway.sharing.link import Link
from gateway.sharing.redis_bus import RedisBus
from gateway.sharing.shares import share_of
from gateway.storage.counting.redis_client import patience_of
from gateway.storage.home import Home
from gateway.storage.spooling.format import load_cipher
from optimizer.routing.plan import Candidate

Pair = tuple[httpx.AsyncClient, httpx.AsyncClient]
CACHED = "cache: {enabled: true, ttl_s: 60, max_bytes: 20000}"
HI: dict[str, Any] = {"model": "triage", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}


@asynccontextmanager
async def two(
    tmp: Path, policies: Path, redis: RedisServer, patience_ms: int = 5000, **more: str
) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """``patience_ms``: a busy machine must not look like a Redis that is away."""
    env = {"UNDERSTUDY_REDIS_URL": redis.url, "UNDERSTUDY_WORKERS": "2", "UNDERSTUDY_WORKERS_OF": "us"}
    env |= {"UNDERSTUDY_REDIS_TIMEOUT_MS": str(patience_ms), **more}
    async with (
        gateway(tmp, policies, **env, UNDERSTUDY_WORKER="1") as first,
        gateway(tmp, policies, **env, UNDERSTUDY_WORKER="2") as second,
        clients(first, second) as both,
    ):
        for client in both:  # the start of the one held up the other
            await until_told(client, "/metrics", lambda told: "understudy_workers 2.0" in told.text)
        yield first, second


@asynccontextmanager
async def clients(*gateways: Gateway) -> AsyncIterator[Pair]:
    made = [
        httpx.AsyncClient(base_url=one.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60)
        for one in gateways
    ]
    try:
        yield made[0], made[1]
    finally:
        for one in made:
            await one.aclose()


@asynccontextmanager
async def scripted(behave: Behaviour = usual) -> AsyncIterator[Provider]:
    async with provider() as made:
        made.behave = behave
        yield made


async def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 90
    while not true():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


async def until_told(client: httpx.AsyncClient, path: str, right: Callable[[httpx.Response], bool]) -> None:
    """Returns when the answer to ``path`` is right: what one worker tells the other arrives in a moment."""
    end = time.monotonic() + 90
    while not right(answer := await client.get(path)):
        assert time.monotonic() < end, (path, answer.status_code, answer.text)
        await asyncio.sleep(0.02)


async def shared_again(upstream: Provider, here: httpx.AsyncClient, there: httpx.AsyncClient) -> None:
    """Returns when one asks for the other and one reads what the other keeps."""
    end = time.monotonic() + 90
    while True:
        before, text = len(upstream.seen), f"{time.monotonic()}"
        made = (await ask(here, text)).json()["id"]
        found = await there.get(f"/v1/chat/completions/{made}")
        await ask(there, text)
        if len(upstream.seen) == before + 1 and found.status_code == 200:
            return
        assert time.monotonic() < end, "nothing is shared again after Redis came back"
        await asyncio.sleep(0.1)


async def spared(client: httpx.AsyncClient, sick: Provider) -> None:
    """Asks until the sick one is left alone. By itself a worker needs five failures to learn that."""
    for pause in (0.2, 1.0, 5.0, 20.0):
        await asyncio.sleep(pause)
        asked = len(sick.seen)
        assert (await ask(client)).status_code == 200
        if len(sick.seen) == asked:
            return
    pytest.fail("it was not told that the breaker is open")


async def ask(client: httpx.AsyncClient, text: str = "hi", **more: Any) -> httpx.Response:
    body = {**HI, "messages": [{"role": "user", "content": text}], **more}
    return await client.post("/v1/chat/completions", json=body)


async def test_a_call_is_readable_changeable_and_deletable_at_every_worker_at_once(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async with scripted() as upstream:
        policies = write_policies(tmp_path / "p", {"first": upstream.url})
        async with two(tmp_path, policies, redis_server) as both, clients(*both) as (here, there):
            for number in range(20):  # no ingester runs: only the workers themselves can know
                made = (await ask(here, f"number {number}")).json()["id"]
                found = await there.get(f"/v1/chat/completions/{made}")
                assert found.status_code == 200 and found.json()["id"] == made
            listed = (await there.get("/v1/chat/completions?limit=100")).json()
            assert len(listed["data"]) == 20 and listed["data"][-1]["id"] == made
            page = (await there.get(f"/v1/chat/completions?limit=3&after={listed['data'][4]['id']}")).json()
            assert [one["id"] for one in page["data"]] == [one["id"] for one in listed["data"][5:8]]
            await there.post(f"/v1/chat/completions/{made}", json={"metadata": {"verdict": "good"}})
            assert (await here.get(f"/v1/chat/completions/{made}")).json()["metadata"] == {"verdict": "good"}
            found = await there.get("/v1/chat/completions?metadata[verdict]=good")
            assert [one["id"] for one in found.json()["data"]] == [made]
            await there.delete(f"/v1/chat/completions/{made}")
            assert (await here.get(f"/v1/chat/completions/{made}")).status_code == 404
            assert made not in (await here.get("/v1/chat/completions?limit=100")).text


async def test_a_response_goes_on_at_another_worker(tmp_path: Path, redis_server: RedisServer) -> None:
    async with scripted() as upstream:
        policies = write_policies(tmp_path / "p", {"first": upstream.url})
        async with two(tmp_path, policies, redis_server) as both, clients(*both) as (here, there):
            first = (await here.post("/v1/responses", json={"model": "triage", "input": "one"})).json()
            more = {"model": "triage", "input": "two", "previous_response_id": first["id"]}
            second = await there.post("/v1/responses", json=more)
            assert second.status_code == 200, second.text
            texts = [message["content"] for message in upstream.seen[-1].body["messages"]]
            assert len(texts) == 3 and "one" in str(texts[0]) and "two" in str(texts[2])
            assert (await there.delete(f"/v1/responses/{first['id']}")).status_code == 200
            assert (await here.get(f"/v1/responses/{first['id']}")).status_code == 404


async def test_an_answer_is_cached_for_every_worker_sealed_and_bounded(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async with scripted() as upstream:
        policies = write_policies(tmp_path / "p", {"first": upstream.url}, gateway=CACHED)
        async with two(tmp_path, policies, redis_server) as both, clients(*both) as (here, there):
            await ask(here, "a secret sentence")
            answers = [await ask(there, "a secret sentence") for _ in range(3)]
            assert len(upstream.seen) == 1 and {one.status_code for one in answers} == {200}
            for number in range(40):
                await ask(here, f"flood {number}")
            redis = Redis.from_url(redis_server.url)
            held = [
                await redis.get(key)
                for key in await redis.keys("*cache}:*")
                if await redis.type(key) == b"string"
            ]
            assert 3 < len(held) < 30 and sum(map(len, held)) < 20_000
            assert all(b"hello" not in one and b"choices" not in one for one in held)
            # What somebody else put there is not an answer, and neither is one in another's place.
            keys = [key for key in await redis.keys("*cache}:*") if await redis.type(key) == b"string"]
            before = len(upstream.seen)
            swapped = await redis.get(keys[0])
            for key in keys:
                await redis.set(key, swapped if key != keys[0] else b"nonsense")
            await redis.set(keys[1], b"")
            for number in range(40):
                assert (await ask(there, f"flood {number}")).status_code == 200
            assert len(upstream.seen) == before + 40
            await redis.delete(*await redis.keys("*cache}:*"))
            for key in (b"order", b"sizes"):
                await redis.set(keys[0].rsplit(b":", 1)[0] + b":" + key, "of a wrong type")
            await ask(here, "again")
            await ask(there, "again")
            assert len(upstream.seen) == before + 41
            await redis.aclose()


async def test_identical_requests_at_two_workers_are_asked_once(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    gate = asyncio.Event()

    async def slow(line: Line) -> None:
        await gate.wait()
        await line.answer()

    async with scripted(slow) as upstream:
        policies = write_policies(tmp_path / "p", {"first": upstream.url}, gateway=CACHED)
        async with two(tmp_path, policies, redis_server) as both, clients(*both) as (here, there):
            asked = [asyncio.create_task(ask(one)) for one in (here, there, here, there)]
            await until(lambda: bool(upstream.seen), "nobody was asked")
            await asyncio.sleep(0.2)
            gate.set()
            assert {one.status_code for one in await asyncio.gather(*asked)} == {200}
            assert len(upstream.seen) == 1


async def test_a_request_that_comes_again_is_asked_once_by_all_workers_and_outlives_them(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("flights", "repeats"):
        monkeypatch.setattr(f"gateway.caching.{place}.PATIENCE_S", 2.0)  # a claim, unless it is held on to
    go = asyncio.Event()

    async def slow(line: Line) -> None:
        await go.wait()
        await usual(line)

    key = {"idempotency-key": "k"}
    body = {"model": "triage", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with scripted(slow) as upstream:
        policies = write_policies(
            tmp_path / "p", {"first": upstream.url},
            gateway="idempotency: {wait_s: 60}\ntimeouts: {connect: 30, first_byte: 60, chunk_gap: 60, total: 90}",
        )  # fmt: skip

        async def ask_twice(pair: Pair, times: int) -> set[bytes]:
            asked = [one.post("/v1/chat/completions", json=body, headers=key) for one in pair * times]
            return {answer.content for answer in await asyncio.gather(*asked) if answer.status_code == 200}

        async with two(tmp_path, policies, redis_server) as both, clients(*both) as pair:
            asking = asyncio.create_task(ask_twice(pair, 10))
            await asyncio.sleep(3.0)  # longer than a claim lasts by itself
            go.set()
            (first,) = await asking
            assert b"[DONE]" in first
            other = await pair[1].post("/v1/chat/completions", json={**body, "seed": 1}, headers=key)
            assert other.status_code == 422
        async with Redis.from_url(redis_server.url) as redis:
            kept = [await redis.get(name) for name in await redis.keys("*:repeats}:*") if await redis.type(name) == b"string"]
            assert len(kept) == 1
            assert b"hel" not in kept[0]
        async with two(tmp_path, policies, redis_server) as both, clients(*both) as pair:
            assert await ask_twice(pair, 1) == {first}
        assert len(upstream.seen) == 1


async def test_a_breaker_that_one_worker_opens_is_open_for_all(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async def first(line: Line) -> None:
        await line.answer(500)

    async with scripted(first) as sick, scripted() as well:
        policies = write_policies(tmp_path / "p", {"a": sick.url, "b": well.url})
        async with two(tmp_path, policies, redis_server) as both, clients(*both) as (here, there):
            for number in range(10):
                assert (await ask(here, f"{number}")).status_code == 200
            await spared(there, sick)
            asked = len(sick.seen)
            for number in range(10):
                assert (await ask(there, f"{number}")).status_code == 200
            assert len(sick.seen) <= asked + 1  # on a busy machine the breaker's time runs out: one is let through to see
            env = {"UNDERSTUDY_REDIS_URL": redis_server.url, "UNDERSTUDY_REDIS_TIMEOUT_MS": "5000"}
            async with (
                gateway(tmp_path, policies, **env) as third,
                clients(third, third) as (late, _),
            ):
                await spared(late, sick)  # a worker that comes later is told, too


async def test_students_off_and_the_admin_session_hold_everywhere(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async with scripted() as upstream:
        policies = write_policies(tmp_path / "p", {"first": upstream.url})
        async with two(tmp_path, policies, redis_server) as both, clients(*both) as (here, there):
            login = await here.post("/admin/login", json={"key": ADMIN})
            headers = {"x-csrf-token": login.json()["csrf"]}
            for name, value in here.cookies.items():
                there.cookies.set(name, value)
            assert (await there.get("/admin/api/session")).status_code == 200
            shown = (await there.get("/admin/api/overview")).json()
            assert shown["students_off"] is False
            done = await there.post(
                "/admin/api/switch", json={"students_off": True, "reason": "test"}, headers=headers
            )
            assert done.status_code == 200, done.text
            await until_told(here, "/admin/api/overview", lambda told: told.json()["students_off"] is True)
            async with httpx.AsyncClient(base_url=both[1].url) as theirs:
                await theirs.post("/admin/login", json={"key": ADMIN})
                people = (await here.get("/admin/api/sessions")).json()["sessions"]
                assert len(people) == 2, "both workers know both"
                ended = {"reason": "test", "ids": [one["id"] for one in people if not one["this"]]}
                assert (await here.post("/admin/api/sessions/end", json=ended, headers=headers)).status_code == 200
                assert (await theirs.get("/admin/api/session")).status_code == 401
            out = await there.post("/admin/logout", headers=headers)
            assert out.status_code == 200
            await until_told(here, "/admin/api/session", lambda told: told.status_code == 401)


async def test_guesses_of_the_admin_key_count_together(tmp_path: Path, redis_server: RedisServer) -> None:
    async with scripted() as upstream:
        policies = write_policies(tmp_path / "p", {"first": upstream.url})
        async with two(tmp_path, policies, redis_server) as both, clients(*both) as (here, there):
            tried = []
            for client in (here, there) * 4:
                tried.append((await client.post("/admin/login", json={"key": "wrong"})).status_code)
                await asyncio.sleep(0.05)
            assert tried == [401] * 5 + [429] * 3


async def test_a_code_of_the_second_factor_opens_the_page_once_at_one_worker(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    secret = new_secret()
    policies = write_policies(tmp_path / "p", {"first": "http://127.0.0.1:1"})
    async with two(tmp_path, policies, redis_server, **{VARIABLE: secret}) as both, clients(*both) as (here, there):
        code = code_at(base64.b32decode(secret), step_at(time.time()))

        async def enters(client: httpx.AsyncClient) -> int:
            return (await client.post("/admin/login", json={"key": ADMIN, "code": code})).status_code

        assert sorted(await asyncio.gather(enters(here), enters(there))) == [200, 401]
        assert await enters(there) == await enters(here) == 401


async def test_bandits_learn_from_the_calls_of_all_workers(tmp_path: Path, redis_server: RedisServer) -> None:
    cipher = load_cipher(Home(tmp_path / "home").prepare())
    links, buses, seen = [], [], []

    async def join() -> Observations:
        link = Link(redis_server.url, patience_s=2.0)
        bus = RedisBus(link, cipher)
        found = Observations(bus=bus)
        await link.start()
        await bus.start()
        links.append(link)
        buses.append(bus)
        seen.append(found)
        return found

    def plays(one: Observations) -> float:
        arms = one.bandits.arms("s", now=one.clock() + 1, half_life_s=1e9)
        return round(arms["a/m"].plays, 3) if "a/m" in arms else 0.0

    first, second = await join(), await join()
    try:
        for one, bus in zip(seen, buses, strict=True):
            for _ in range(50):
                one.bandits.play("s", "a/m", 1.0, now=one.clock(), half_life_s=1e9)
                bus.mention("play", "s", "a/m", 1.0, 1e9)
                bus.mention("attempt", "a", "m", False, 12.0)
        await until(lambda: plays(first) == plays(second) == 100, "plays are not shared")
        assert first.seen(Candidate(provider="a", model="m"), streamed=False).samples == 50
        late = await join()
        await until(lambda: plays(late) == 100, "a worker that comes later begins with nothing")
    finally:
        for bus, link in zip(buses, links, strict=True):
            await bus.close()
            await link.close()


async def test_a_scrape_shows_every_worker(tmp_path: Path, redis_server: RedisServer) -> None:
    async with scripted() as upstream:
        policies = write_policies(tmp_path / "p", {"first": upstream.url})
        async with two(tmp_path, policies, redis_server) as both, clients(*both) as (here, there):
            for client, times in ((here, 2), (there, 3)):
                for number in range(times):
                    await ask(client, f"{number}")
            texts = [(await one.get("/metrics")).text for one in (here, there)]
            for text in texts:
                calls = {line for line in text.splitlines() if line.startswith("understudy_calls_total{")}
                assert {(line.count('worker="1"'), line[-3:]) for line in calls} == {(1, "2.0"), (0, "3.0")}
                assert "understudy_workers 2.0" in text
            kinds = {one.name: one.type for one in text_string_to_metric_families(texts[0])}
            assert (
                kinds["understudy_calls"] == "counter" and kinds["understudy_latency_seconds"] == "histogram"
            )


async def test_without_redis_everything_is_a_miss_and_nothing_an_error(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async with scripted() as upstream:
        policies = write_policies(tmp_path / "p", {"first": upstream.url}, gateway=CACHED)
        async with two(tmp_path, policies, redis_server) as both, clients(*both) as (here, there):
            await ask(here)
            redis_server.stop()
            made = []
            for number in range(20):
                answer = await ask((here, there)[number % 2])
                assert answer.status_code == 200
                made.append(answer.json()["id"])
            assert len(upstream.seen) >= 20
            assert (await here.get(f"/v1/chat/completions/{made[-2]}")).status_code == 200  # its own
            assert (await here.get("/metrics")).status_code == 200
            redis_server.start()
            await shared_again(upstream, here, there)


async def test_a_hung_redis_delays_nothing_for_long(tmp_path: Path, redis_server: RedisServer) -> None:
    async with scripted() as upstream:
        policies = write_policies(tmp_path / "p", {"first": upstream.url}, gateway=CACHED)
        async with two(tmp_path, policies, redis_server, 200) as both, clients(*both) as (here, there):
            await ask(here)
            redis_server.signal(signal.SIGSTOP)
            for number in range(10):
                assert (await ask((here, there)[number % 2], f"{number}")).status_code == 200
            assert len(upstream.seen) == 11
            redis_server.signal(signal.SIGCONT)
            await shared_again(upstream, here, there)


def test_what_nobody_counts_together_is_divided() -> None:
    keys: list[str | ProviderKey] = ["plain", ProviderKey("limited", requests_per_minute=9)]
    whole = Config(
        providers={"a": OpenAIProvider(api_keys=keys), "b": OpenAIProvider(api_key="one")},
        upstreams={"a": UpstreamRules(max_concurrent=10, max_queue=0)},
    )
    part = share_of(whole, 4)
    assert (part.upstreams["a"].max_concurrent, part.upstreams["a"].max_queue) == (3, 0)
    assert part.upstreams["b"].max_concurrent == 128 and part.server.max_connections == 250
    assert part.providers["a"] == OpenAIProvider(
        api_keys=["plain", ProviderKey("limited", requests_per_minute=3)]
    )
    assert part.providers["b"] is whole.providers["b"] and share_of(whole, 1) is whole


@pytest.mark.parametrize("workers", ["2", "64"])
def test_several_workers_without_redis_are_refused(
    workers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNDERSTUDY_REDIS_URL", raising=False)
    policies = write_policies(tmp_path / "p", {"first": "http://127.0.0.1:9"})
    for command in ("serve", "up"):
        assert (
            main([command, "--policies", str(policies), "--home", str(tmp_path / "h"), "--workers", workers])
            == 1
        )
        told = capsys.readouterr().err
        assert f"{workers} workers need Redis" in told and "UNDERSTUDY_REDIS_URL=redis://" in told


def test_how_long_redis_may_take_is_a_number_of_milliseconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert patience_of({}) == 0.05 and patience_of({"UNDERSTUDY_REDIS_TIMEOUT_MS": "200"}) == 0.2
    monkeypatch.setenv("UNDERSTUDY_REDIS_URL", "redis://127.0.0.1:1/0")
    policies = write_policies(tmp_path / "p", {"first": "http://127.0.0.1:9"})
    for wrong in ("0", "-1", "0.5", "1s", "60001"):
        monkeypatch.setenv("UNDERSTUDY_REDIS_TIMEOUT_MS", wrong)
        assert run(Home(tmp_path / "h").prepare(), policies, None, None) == 1
        assert f"is '{wrong}', and must be milliseconds from 1 to 60000" in capsys.readouterr().err
