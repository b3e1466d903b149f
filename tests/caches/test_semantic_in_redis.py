"""``index: redis``: kept questions are searched by a real Redis 8 and held by no worker. What they prove, who sees what,
how much stays, and what an outage, an older Redis or a liar there costs."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common_workers import RULES, SUBJECTS, WAYS, Worker, opened, settled, until, worker
from msgspec.structs import replace
from redis.asyncio import Redis
from redis_server import RedisServer

from gateway.caching.commons import Passed
from gateway.caching.entries import Entry, Purge
from gateway.sharing.vectors import Turned, _bucket_of
from gateway.storage.home import Home
from optimizer.reuse import trust

IN_REDIS = replace(RULES, index="redis")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not look like a Redis that is away."""
    monkeypatch.setattr("gateway.sharing.link.COMMAND_S", 10.0)


async def keys_of(redis: Redis, shape: str) -> list[bytes]:
    return [key async for key in redis.scan_iter(f"*:vectors}}*{shape}")]


async def vectors_in(redis: Redis) -> int:
    """In all sets."""
    return sum([await redis.execute_command("VCARD", key) for key in await keys_of(redis, ":vectors")])


async def kept_in(redis: Redis) -> int:
    return sum([await redis.zcard(key) for key in await keys_of(redis, ":order")])


async def test_workers_prove_serve_and_remember_together(redis_8: RedisServer, tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    async with worker(redis_8, home, 1, IN_REDIS) as one, worker(redis_8, home, 2, IN_REDIS) as two:
        await opened(one, two)
        (stood,) = one.semantic.standings()
        assert stood.proposals >= 10 and stood.round == 1
        assert {each.semantic.stats()["entries"] for each in (one, two)} == {0}, "no worker holds a question"
        await one.ask("which museum shows whales and sharks")
        await one.link._queue.join()
        found = await two.look("which museum shows sharks and whales")
        assert found is not None and found.kept is not None and found.kept.text == "? of p1"
        hits = [await two.ask(f"how do I get my refund sorted please {'x' * n}") for n in range(20)]
        assert "refund of p1" in hits and set(hits) <= {"refund of p1", None}
        async with worker(redis_8, home, 3, IN_REDIS) as late:
            await settled(one, two, late)
            assert late.semantic.standings() == one.semantic.standings()
            refined = [dict(each.semantic._lessons._elsewhere) for each in (one, two, late)]
            assert refined[0] == refined[1] and refined[0]
            assert refined[2].items() <= refined[0].items()
            hits = [await late.ask(f"how do I get my coupon sorted please {'y' * n}") for n in range(20)]
            assert "coupon of p1" in hits


async def test_a_question_that_misled_is_trusted_less_by_every_worker(redis_8: RedisServer, tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    async with worker(redis_8, home, 1, IN_REDIS) as one, worker(redis_8, home, 2, IN_REDIS) as two:
        await opened(one, two)
        text = "how do I get my parcel sorted please zz"
        await one.ask(text)
        await one.link._queue.join()
        before = await two.look(f"{text} now")
        assert before is not None and before.kept is not None
        wrong = replace(lesson_of(before), right=False)
        one.commons.tell(wrong)
        await settled(one, two)
        for each in (one, two):
            after = await each.look(f"{text} now")
            assert after is not None and after.kept is not None and after.kept.key == before.kept.key
            assert after.kept.entry.shift < before.kept.entry.shift


def lesson_of(look: Any) -> Any:
    from gateway.caching.commons import Lesson

    return Lesson("p1", "faq", IN_REDIS, look.kept.key, look.seen, right=True, proposed=False)


async def test_no_project_finds_another_ones_questions(redis_8: RedisServer, tmp_path: Path) -> None:
    """One project's question in every dress, asked by another one, in tasks that would reuse anything."""
    home, rng = Home(tmp_path / "home").prepare(), random.Random(5)
    anything = trust.replace(
        trust.start(0.02, 0.05, 1000), model=trust.Model((0.0,) * 12, (1.0,) * 12, (0.0,) * 12, 100.0),
        cut=-1000.0, watch=trust.drift.start(0.98, 0.0, 1000),
    )  # fmt: skip
    async with worker(redis_8, home, 1, IN_REDIS) as one, worker(redis_8, home, 2, IN_REDIS) as two:
        for each in (one, two):
            each.semantic._state = lambda scope, rules: anything  # type: ignore[method-assign]
        served = 0
        for number in range(1000):
            text = rng.choice(WAYS).format(rng.choice(SUBJECTS)) + rng.choice(["", " ", "?", "!", " ok"])
            project = f"p{1 + number % 2}"
            said = await rng.choice((one, two)).ask(text, project)
            served += said is not None
            assert said is None or said.endswith(f" of {project}")
        assert served > 800


async def test_who_writes_into_that_redis_passes_no_question_off_as_another(
    redis_8: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A record under another project's place, garbage, and things of other kinds: misses, each of them."""
    home = Home(tmp_path / "home").prepare()
    text = "how do I get my refund sorted"
    async with worker(redis_8, home, 1, IN_REDIS) as one, Redis.from_url(redis_8.url) as redis:
        await one.ask(text, "p1")
        await one.ask("something else altogether", "p2")
        await one.link._queue.join()
        assert not [key for key in await redis.keys("*") if b"refund" in await redis.dump(key)]
        places = {}
        for project in ("p1", "p2"):
            bucket = _bucket_of(project, "faq", f"bucket of {project} redis ")
            (places[project],) = [key for key in await redis.keys(f"*{bucket}:*") if not key.endswith(b":vectors")]
        await redis.set(places["p2"], await redis.get(places["p1"]))
        await redis.set(places["p1"], b"garbage")
        for project in ("p1", "p2"):
            found = await one.look(text, project)
            assert found is not None and found.kept is None, project
        for shape in (":vectors", ":order", ":sizes", ":task"):
            for key in await keys_of(redis, shape):
                await redis.set(key, "nothing of the kind")
        found = await one.look(text)
        assert found is not None and found.kept is None
        await one.ask(text)
        await one.link._queue.join()
        found = await one.look(text)
        assert found is not None and found.kept is not None, "what was broken is made anew"
    assert "Traceback" not in caplog.text


async def test_what_is_kept_is_bounded_expires_and_is_forgotten(redis_8: RedisServer, tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    few = replace(IN_REDIS, max_entries=10)
    async with worker(redis_8, home, 1, few) as one, Redis.from_url(redis_8.url) as redis:
        for number in range(40):
            await one.ask(f"unique question {number} {'long ' * 40}", f"p{number % 2}")
        await one.link._queue.join()
        assert await kept_in(redis) == await vectors_in(redis) == 20
        assert await one.semantic.purge_commons(Purge(project="p0")) == 10
        assert await one.semantic.purge_commons(Purge(project="nobody")) == 0
        assert await kept_in(redis) == await vectors_in(redis) == 10
        (mine, *_) = [key async for key in redis.scan_iter("*:vectors}*:vectors")]
        place = (await redis.execute_command("VRANDMEMBER", mine)).decode()
        assert await one.semantic.purge_commons(Purge(entry=place.rpartition(":")[2])) == 1
        one.commons.searched.clear()
        await one.link._queue.join()
        assert await keys_of(redis, "") == []
        for number in range(60):
            await one.ask(f"unique question {number}", f"q{number}", max_bytes=60_000)
        await one.link._queue.join()
        assert 0 < await kept_in(redis) == await vectors_in(redis) < 60
        sizes = (await keys_of(redis, ":sizes"))[0]
        assert int(await redis.hget(sizes, "")) <= 60_000
        await one.ask("gone soon", "short", ttl=0.3)
        await one.link._queue.join()
        await until_gone(one, "gone soon")
        await one.ask("the next one", "short")
        await one.link._queue.join()
        assert await kept_in(redis) == await vectors_in(redis)
        assert all([await redis.pttl(key) > 0 for key in await redis.keys("*:vectors}*")]), "all of it ends"


async def until_gone(one: Worker, text: str) -> None:
    end = time.monotonic() + 120
    while (found := await one.look(text, "short")) is not None and found.kept is not None:
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def test_a_flood_of_new_questions_leaves_redis_time_for_others(redis_8: RedisServer, tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    async with worker(redis_8, home, 1, IN_REDIS) as one, Redis.from_url(redis_8.url) as redis:
        for number in range(500):
            one.commons.keep(passed(str(number), 384))
        assert one.link._queue.qsize() <= 8
        await one.link._queue.join()
        await asyncio.sleep(0)
        assert await kept_in(redis) == 8, "a question that is not kept costs a hit at most"
        one.commons.keep(passed("later", 384))
        await one.link._queue.join()
        assert await kept_in(redis) == 9


async def test_an_outage_means_misses(redis_8: RedisServer, tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    async with worker(redis_8, home, 1, IN_REDIS) as one:
        await one.ask("how do I get my refund sorted")
        redis_8.stop()
        await until(lambda: one.link.away, "nobody saw it go")
        found = await one.look("how do I get my refund sorted please")
        assert found is not None and found.kept is None
        assert await one.ask("how do I get my refund sorted please") is None
        assert await one.semantic.purge_commons(Purge()) == 0
        redis_8.start()
        await until(one.commons.ready, "nobody saw it come back")
        await one.ask("how do I get my refund sorted")
        await one.link._queue.join()
        found = await one.look("how do I get my refund sorted please")
        assert found is not None and found.kept is not None


async def test_a_redis_that_is_too_old_is_told_once_and_costs_hits_only(
    redis_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = Home(tmp_path / "home").prepare()
    async with worker(redis_server, home, 1, IN_REDIS) as one:
        async with Redis.from_url(redis_server.url) as redis:
            if int((await redis.info("server"))["redis_version"].split(".")[0]) >= 8:
                return  # there is no older one on this machine
        for _ in range(3):
            assert await one.ask("how do I get my refund sorted") is None
        assert not one.link.away
    assert caplog.text.count("this Redis has no vector sets") == 1


async def test_vectors_of_another_length_end_the_earlier_ones(redis_8: RedisServer, tmp_path: Path) -> None:
    """An encoder's folder has another model in it."""
    home = Home(tmp_path / "home").prepare()
    async with worker(redis_8, home, 1, IN_REDIS) as one:
        searched = one.commons.searched
        for number, size in enumerate((8, 8, 16)):
            searched.keep(passed(str(number), size))
        assert await searched.nearest("p", "t", "b", unit(8)) is None
        found = await searched.nearest("p", "t", "b", unit(16))
        assert found is not None and found.key == "2"


def unit(size: int) -> Any:
    return np.full(size, size**-0.5, dtype=np.float32)


def passed(key: str, size: int) -> Passed:
    answer = Entry(time.time(), 60.0, "p", "t", "k", "", "", None, b"{}")
    return Passed(key, "p", "t", "b", key, answer, "text", unit(size).tobytes(), 60.0, 100, 1 << 20, "redis")


async def test_an_answer_that_the_clock_says_is_over_is_not_served(redis_8: RedisServer, tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    async with worker(redis_8, home, 1, IN_REDIS) as one:
        one.commons.keep(passed("1", 8))
        assert await one.commons.nearest("p", "t", "b", unit(8)) is not None
        one.commons._clock = lambda: time.time() + 61
        assert await one.commons.nearest("p", "t", "b", unit(8)) is None


def test_turned_vectors_have_the_same_products_and_are_nobodys_elses() -> None:
    rng = np.random.default_rng(3)
    first, second = (rng.normal(size=(2, 384)) / 20).astype(np.float32)
    own, other = Turned(bytes(32)), Turned(bytes(range(32)))
    turned = [np.frombuffer(own.bytes_of(one), dtype=np.float32) for one in (first, second)]
    assert float(turned[0] @ turned[1]) == pytest.approx(float(first @ second), abs=1e-5)
    assert own.bytes_of(first) == Turned(bytes(32)).bytes_of(first) != other.bytes_of(first) != first.tobytes()
