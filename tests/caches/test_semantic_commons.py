"""Semantic caches of several workers over a real Redis: what one keeps and learns, the others serve from; tenants stay
apart; an outage costs hits and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from common_workers import PATIENCE_S, RULES, SUBJECTS, opened, settled, until, worker
from redis.asyncio import Redis
from redis_server import RedisServer

from gateway.caching.commons import Lesson, told_in
from gateway.caching.entries import Purge
from gateway.caching.index import Index
from gateway.caching.lessons import Lessons
from gateway.storage.home import Home


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not look like a Redis that is away."""
    monkeypatch.setattr("gateway.sharing.link.COMMAND_S", 10.0)


async def test_workers_learn_together_and_serve_what_another_one_keeps(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home").prepare()
    async with worker(redis_server, home, 1) as one, worker(redis_server, home, 2) as two:
        await opened(one, two)
        (stood,) = one.semantic.standings()
        assert stood.proposals >= 10 and stood.round == 1
        assert await one.ask("how do I get my receipt sorted? about receipts") is None
        await settled(one, two)
        hits = [await two.ask(f"how do I get my refund sorted please {'x' * n}") for n in range(20)]
        assert "refund of p1" in hits and set(hits) <= {"refund of p1", None}
        async with worker(redis_server, home, 3) as late:
            await settled(one, two, late)
            assert late.semantic.standings() == one.semantic.standings()
            assert late.semantic.stats()["entries"] == one.semantic.stats()["entries"]
            shifts = [each.semantic._index._kept for each in (one, late)]
            refined = [{key: kept.entry for key, kept in each.items()} for each in shifts]
            assert refined[0] == refined[1]
            hits = [await late.ask(f"how do I get my coupon sorted please {'y' * n}") for n in range(20)]
            assert "coupon of p1" in hits


async def test_no_project_is_served_from_another_ones_questions(redis_server: RedisServer, tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    async with worker(redis_server, home, 1) as one, worker(redis_server, home, 2) as two:
        await opened(one, two)
        for subject in SUBJECTS:
            text = f"how do I get my {subject} sorted please now"
            await one.ask(text)
            await settled(one, two)
            look = await two.look(text, "p2")
            assert look is not None and look.answer is None
            assert look.kept is None or look.kept.scope[0] == "p2"  # asked just before
            assert await two.ask(text, "p2") is None
        assert not any(each.open for each in two.semantic.standings() if each.project == "p2")


async def test_redis_away_means_misses_and_never_errors(redis_server: RedisServer, tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    async with worker(redis_server, home, 1) as one, worker(redis_server, home, 2) as two:
        await opened(one, two)
        before = one.semantic.standings()
        redis_server.stop()
        await until(lambda: one.link.away and two.link.away, "nobody saw it go")
        assert not one.commons.ready()
        look = await one.look("how do I get my refund sorted please")
        assert look is not None and look.kept is None and look.answer is None
        assert await one.semantic.purge_commons(Purge()) == 0
        one.commons.tell(lesson())  # lost, and harmless
        redis_server.start()
        await until(lambda: one.commons.ready() and two.commons.ready(), "nobody saw it come back")
        assert one.semantic.standings() == before  # what was proven stays in memory
        found = [await one.ask(f"how do I get my refund sorted please {'z' * n}") for n in range(20)]
        assert "refund of p1" in found


def lesson() -> Any:
    return Lesson("p1", "faq", RULES, "p1/x", (0.0,) * 12, right=True, proposed=True)


async def test_what_others_write_into_that_redis_teaches_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    home, stranger = Home(tmp_path / "home").prepare(), Home(tmp_path / "stranger").prepare()
    async with worker(redis_server, home) as one, worker(redis_server, stranger) as other:
        await other.ask("how do I get my refund sorted")
        other.commons._log, own = one.commons._log, other.commons._log
        for _ in range(5):
            other.commons.tell(lesson())
        async with Redis.from_url(redis_server.url) as redis:
            await redis.xadd(one.commons._log, {"e": b"nonsense"})
            await redis.xadd(one.commons._log, {"odd": b""})
        await one.ask("how do I get my refund sorted")
        await one.ask("how do I get my refund sorted please")
        await until(lambda: bool(one.semantic.standings()), "it stopped to learn")
        (standing,) = one.semantic.standings()
        assert standing.seen == 1
        assert one.semantic.stats()["entries"] == 2
        assert own != one.commons._log
    assert told_in(b"\xc1") is None and told_in(b"") is None


async def test_kept_questions_are_forgotten_everywhere_and_bounded_in_bytes(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home").prepare()
    async with worker(redis_server, home, 1) as one, worker(redis_server, home, 2) as two:
        for number in range(40):
            await one.ask(f"unique question {number} {'long ' * 40}", max_bytes=60_000)
        await settled(one, two)
        assert 0 < two.semantic.stats()["entries"] < 40
        assert two.semantic.stats()["bytes"] <= 60_000
        async with Redis.from_url(redis_server.url) as redis:
            keys = [key async for key in redis.scan_iter("*:likened*")]
            sizes = [await redis.strlen(key) for key in keys if await redis.type(key) == b"string"]
            assert 0 < sum(sizes) <= 60_000
            assert not [key for key in keys if b"unique" in await redis.dump(key)]
        assert await one.semantic.purge_commons(Purge(project="p2")) == 0
        assert await one.semantic.purge_commons(Purge(project="p1")) == len(sizes)
        one.semantic.purge(Purge())
        two.semantic.purge(Purge())
        await one.ask("another one")
        await settled(one, two)
        assert two.semantic.stats()["entries"] == 1


def test_a_lesson_counts_once_and_in_order() -> None:
    lessons = Lessons(Index(), "me")
    told = [((1, at), lesson()) for at in range(3)]
    lessons.learn(told).result(PATIENCE_S)
    lessons.learn(told).result(PATIENCE_S)
    assert lessons.standings()[0].seen == 3
    lessons.close()
