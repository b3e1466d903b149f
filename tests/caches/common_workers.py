"""Workers with semantic caches over one Redis, and a teacher that answers by the subject."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest
from redis_server import RedisServer

from gateway.caching.entries import Entry
from gateway.caching.semantic import Look, Question, Semantic
from gateway.config import SemanticCache
from gateway.sharing.commons import RedisCommons, _place
from gateway.sharing.link import Link
from gateway.storage.home import Home
from gateway.storage.spooling.format import load_cipher

RULES = SemanticCache(delta=0.2, alpha=0.2, reask_rate=0.01, average_run_length=2000)
SUBJECTS = ["refund", "invoice", "parcel", "password", "warranty", "shipping", "coupon", "account"]
WAYS = ["how do I get my {} sorted please", "please how do I get my {} sorted", "how would I get my {} sorted"]
PATIENCE_S = 60.0


class Worker:
    def __init__(self, semantic: Semantic, commons: RedisCommons, link: Link, rules: SemanticCache) -> None:
        self.semantic, self.commons, self.link, self.rules = semantic, commons, link, rules

    async def look(self, text: str, project: str = "p1") -> Look | None:
        key = sha256(f"{project}/{text}".encode()).hexdigest()
        question = Question(key, f"bucket of {project}", (project, "faq"), text)
        return await self.semantic.look(question, self.rules)

    async def ask(self, text: str, project: str = "p1", max_bytes: int = 1 << 24, ttl: float = 600.0) -> str | None:
        """What a kept answer says; None when the teacher was asked, who answers by the subject."""
        look = await self.look(text, project)
        if look is None or look.answer is not None:
            return look.answer.answer.decode() if look is not None and look.answer is not None else None
        said = next((one for one in SUBJECTS if one in text), "?") + f" of {project}"
        entry = Entry(time.time(), ttl, project, "faq", "key", "x", "m", None, said.encode())
        self.semantic.answered(look, self.rules, entry, said, ttl=ttl, max_bytes=max_bytes)
        return None


@asynccontextmanager
async def worker(
    redis: RedisServer, home: Home, seed: int = 1, rules: SemanticCache = RULES
) -> AsyncIterator[Worker]:
    link = Link(redis.url)
    commons = RedisCommons(link, load_cipher(home))
    semantic = Semantic(random.Random(seed), time.monotonic, commons)
    await link.start()
    commons.follow(semantic)
    try:
        await until(commons.ready, "it never knew what others know")
        yield Worker(semantic, commons, link, rules)
    finally:
        await commons.close()
        await link.close()
        semantic.close()


async def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.02)


async def opened(*workers: Worker) -> None:
    """Traffic at all of them in turn until the task serves everywhere."""
    rng = random.Random(4)
    for number in range(4000):
        pad = "".join(rng.choices("bcdfg", k=5))
        await workers[number % len(workers)].ask(f"{rng.choice(WAYS).format(rng.choice(SUBJECTS))} {pad}")
        if number % 50 == 49:
            await settled(*workers)
            if all([one.open for one in each.semantic.standings()] == [True] for each in workers):
                return
    pytest.fail(f"never opened: {[each.semantic.standings() for each in workers]}")


async def settled(*workers: Worker) -> None:
    """Until everybody has read the log to where it ends now."""
    for each in workers:
        await each.link._queue.join()
    found = await workers[0].link.ask("XREVRANGE", workers[0].commons._log, "+", "-", "COUNT", 1)
    for each in workers:
        await until(lambda each=each: bool(found) and each.commons._at >= _place(found[0][0]), "it reads no more")
