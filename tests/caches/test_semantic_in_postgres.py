"""``index: pgvector``: kept questions are searched by a real PostgreSQL with pgvector and held by no worker. Who sees
what, how much stays, and what an outage, a missing extension or a liar there costs."""

from __future__ import annotations

import asyncio
import math
import random
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from common_workers import RULES, SUBJECTS, WAYS, Worker, until
from msgspec.structs import replace
from postgres_server import PostgresServer, without

from gateway.caching.commons import Passed
from gateway.caching.entries import Entry, Purge
from gateway.caching.semantic import Semantic
from gateway.sharing.pgvector import PgVectors, pgvector_in
from gateway.storage.counting.redis_client import WrongTimeout
from gateway.storage.spooling.format import SpoolCipher
from optimizer.reuse import trust

IN_POSTGRES = replace(RULES, index="pgvector")
CIPHER = SpoolCipher(bytes(range(32)))
PATIENCE_S = 30.0


class Alone(Worker):
    """A worker without Redis: what is learnt is its own, what is kept is everybody's."""

    def __init__(self, semantic: Semantic, vectors: PgVectors, rules: Any) -> None:
        self.semantic, self.vectors, self.rules = semantic, vectors, rules

    async def kept(self) -> None:
        await self.vectors.settled()
        await self.semantic.settled()

    async def ask(self, text: str, project: str = "p1", max_bytes: int = 1 << 24, ttl: float = 600.0) -> str | None:
        said = await super().ask(text, project, max_bytes, ttl)
        await self.kept()
        return said


@asynccontextmanager
async def worker(server: PostgresServer, seed: int = 1, rules: Any = IN_POSTGRES) -> AsyncIterator[Alone]:
    vectors = PgVectors(server.url, CIPHER, PATIENCE_S)
    semantic = Semantic(random.Random(seed), time.monotonic, searched={"pgvector": vectors})
    try:
        vectors._ready()
        await until(lambda: vectors._ready() is not None or bool(vectors._told), "PostgreSQL was never there")
        yield Alone(semantic, vectors, rules)
    finally:
        await vectors.close()
        semantic.close()


def count(server: PostgresServer, where: str = "true") -> int:
    return int(str(server.rows(f"SELECT count(*) FROM understudy_kept_questions WHERE {where}")[0][0]))


def passed(key: str, size: int, **more: Any) -> Passed:
    answer = Entry(time.time(), 60.0, "p", "t", "k", "", "", None, b"{}")
    whole = Passed(key, "p", "t", "b", key, answer, "text", unit(size).tobytes(), 60.0, 1000, 1 << 24, "pgvector")
    return replace(whole, **more)


def unit(size: int) -> Any:
    return np.full(size, size**-0.5, dtype=np.float32)


async def eventually(true: Callable[[], Any], what: str) -> None:
    """As ``until``, for what waits."""
    end = time.monotonic() + 120
    while not await true():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.02)


async def test_what_one_worker_keeps_another_proves_and_serves(pgvector: PostgresServer) -> None:
    async with worker(pgvector, 1) as one, worker(pgvector, 2) as two:
        await opened_alone(one, two)
        assert {each.semantic.stats()["entries"] for each in (one, two)} == {0}, "no worker holds a question"
        await one.ask("which museum shows whales and sharks")
        found = await two.look("which museum shows sharks and whales")
        assert found is not None and found.kept is not None and found.kept.text == "? of p1"
        hits = [await two.ask(f"how do I get my refund sorted please {'x' * n}") for n in range(20)]
        assert "refund of p1" in hits and set(hits) <= {"refund of p1", None}
        before = await two.look("how do I get my parcel sorted please")
        assert before is not None and before.kept is not None
        assert two.semantic._lessons.refined(before.kept.key).information >= 0


async def opened_alone(*workers: Alone) -> None:
    rng = random.Random(4)
    for number in range(4000):
        pad = "".join(rng.choices("bcdfg", k=5))
        await workers[number % len(workers)].ask(f"{rng.choice(WAYS).format(rng.choice(SUBJECTS))} {pad}")
        if number % 50 == 49 and all([one.open for one in each.semantic.standings()] == [True] for each in workers):
            return
    pytest.fail(f"never opened: {[each.semantic.standings() for each in workers]}")


async def test_no_project_finds_another_ones_questions(pgvector: PostgresServer) -> None:
    """One project's question in every dress, asked by another one, in tasks that would reuse anything."""
    rng = random.Random(5)
    anything = trust.replace(
        trust.start(0.02, 0.05, 1000), model=trust.Model((0.0,) * 12, (1.0,) * 12, (0.0,) * 12, 100.0),
        cut=-1000.0, watch=trust.drift.start(0.98, 0.0, 1000),
    )  # fmt: skip
    async with worker(pgvector, 1) as one, worker(pgvector, 2) as two:
        for each in (one, two):
            each.semantic._state = lambda scope, rules: anything  # type: ignore[method-assign]
        served = 0
        for number in range(600):
            text = rng.choice(WAYS).format(rng.choice(SUBJECTS)) + rng.choice(["", " ", "?", "!", " ok"])
            project = f"p{1 + number % 2}"
            said = await rng.choice((one, two)).ask(text, project)
            served += said is not None
            assert said is None or said.endswith(f" of {project}")
        assert served > 450


async def test_who_writes_there_passes_no_question_off_as_another(pgvector: PostgresServer) -> None:
    text = "how do I get my refund sorted"
    async with worker(pgvector) as one:
        await one.ask(text, "p1")
        await one.ask("something else altogether", "p2")
        stored = pgvector.rows("SELECT question, embedding::text FROM understudy_kept_questions")
        assert not [row for row in stored if b"refund" in bytes(row[0])]  # type: ignore[call-overload]
        _, first = await _vectors_of(one, text)
        assert not [row for row in stored if _floats(str(row[1])) == pytest.approx(first)], "it lies there turned"
        pgvector.rows(
            "UPDATE understudy_kept_questions a SET question = b.question, embedding = b.embedding"
            " FROM understudy_kept_questions b WHERE a.bucket <> b.bucket"
        )
        for project in ("p1", "p2"):
            found = await one.look(text, project)
            assert found is not None and found.kept is None, project
        pgvector.rows("UPDATE understudy_kept_questions SET question = 'garbage'")
        found = await one.look(text)
        assert found is not None and found.kept is None
        await one.ask(text)
        found = await one.look(text)
        assert found is not None and found.kept is not None, "what was broken is made anew"


async def _vectors_of(one: Alone, text: str) -> tuple[Any, list[float]]:
    found = await one.look(text)
    assert found is not None
    return found, [float(value) for value in found.vector]


def _floats(written: str) -> list[float]:
    return [float(value) for value in written.strip("[]").split(",")]


async def test_gateways_of_another_key_share_nothing(pgvector: PostgresServer) -> None:
    async with worker(pgvector) as one:
        await one.ask("how do I get my refund sorted")
        other = PgVectors(pgvector.url, SpoolCipher(bytes(32)), PATIENCE_S)
        other.clear()
        await until(lambda: not other._cleared, "it never came")
        assert await other.nearest("p1", "faq", "bucket of p1 pgvector ", unit(1024)) is None
        assert await other.purge(Purge()) == 0
        assert count(pgvector) == 1
        await other.close()


async def test_what_is_kept_is_bounded_expires_and_is_forgotten(pgvector: PostgresServer) -> None:
    few = replace(IN_POSTGRES, max_entries=10)
    async with worker(pgvector, 1, few) as one:
        for number in range(40):
            await one.ask(f"unique question {number} {'long ' * 40}", f"p{number % 2}")
        await one.vectors._table.sweep()  # type: ignore[union-attr]
        assert count(pgvector) == 20
        assert await one.semantic.purge_searched(Purge(project="p0")) == 10
        assert await one.semantic.purge_searched(Purge(project="nobody")) == 0
        (key,) = pgvector.rows("SELECT key FROM understudy_kept_questions LIMIT 1")[0]
        assert await one.semantic.purge_searched(Purge(entry=str(key))) == 1
        assert count(pgvector) == 9
        one.vectors.clear()
        assert await one.vectors.nearest("p1", "faq", "bucket of p1 pgvector ", unit(1024)) is None
        await until(lambda: not one.vectors._cleared, "it was never cleared")
        assert count(pgvector) == 0
        for number in range(120):
            await one.ask(f"unique question {number}", f"q{number}", max_bytes=100_000)
        assert int(str(pgvector.rows("SELECT sum(size) FROM understudy_kept_questions")[0][0])) <= 1_000_000, "a hundred between two sweeps"
        await one.vectors._table.sweep()  # type: ignore[union-attr]
        assert 0 < int(str(pgvector.rows("SELECT sum(size) FROM understudy_kept_questions")[0][0])) <= 100_000
        one.vectors._swept = math.inf  # it sweeps when this test says so
        await one.ask("gone soon", "short", ttl=0.2)
        await until(lambda: count(pgvector, "expires < now()") == 1, "it never expired")
        found = await one.look("gone soon", "short")
        assert found is not None and found.kept is None
        await one.vectors._table.sweep()  # type: ignore[union-attr]
        assert count(pgvector, "expires < now()") == 0


async def test_a_flood_of_new_questions_waits_in_a_short_queue(pgvector: PostgresServer) -> None:
    async with worker(pgvector) as one:
        for number in range(500):
            one.vectors.keep(passed(str(number), 8))
        await one.vectors.settled()
        assert count(pgvector) == 8, "a question that is not kept costs a hit at most"
        one.vectors.keep(passed("later", 8))
        await one.vectors.settled()
        assert count(pgvector) == 9


async def test_an_outage_means_misses_and_ends_by_itself(
    pgvector: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with worker(pgvector) as one:
        text = "how do I get my refund sorted"
        await one.ask(text)
        pgvector.stop()
        found = await one.look(f"{text} please")
        assert found is not None and found.kept is None
        assert await one.ask(f"{text} please") is None
        assert await one.semantic.purge_searched(Purge()) == 0
        one.vectors.clear()
        pgvector.start()
        await until(lambda: one.vectors._ready() is not None and not one.vectors._cleared, "nobody saw it come back")
        await one.ask(text)
        found = await one.look(text)
        assert found is not None and found.kept is not None
        pgvector.rows("DROP TABLE understudy_kept_questions")
        found = await one.look(text)
        assert found is not None and found.kept is None

        async def made_anew() -> bool:
            await one.ask(text)
            again = await one.look(text)
            return again is not None and again.kept is not None

        await eventually(made_anew, "the table was never made anew")
    assert "Traceback" not in caplog.text


async def test_a_server_that_stands_still_costs_patience_and_clients_that_leave_cost_nothing(
    pgvector: PostgresServer,
) -> None:
    async with worker(pgvector) as one:
        text = "how do I get my refund sorted"
        await one.ask(text)
        for _ in range(10):  # more than there are connections
            looking = asyncio.create_task(one.look(text))
            await asyncio.sleep(0)
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        found = await one.look(text)
        assert found is not None and found.kept is not None
        assert one.vectors._table is not None
        database = one.vectors._table.database
        database._patience = 0.05
        with psycopg.connect(pgvector.url) as held:
            held.execute("LOCK TABLE understudy_kept_questions IN ACCESS EXCLUSIVE MODE")
            found = await one.look(text)
            assert found is not None and found.kept is None
            assert database.away
        database._patience = PATIENCE_S
        await until(lambda: not database.away, "it never came back")
        found = await one.look(text)
        assert found is not None and found.kept is not None


async def test_a_postgresql_without_the_extension_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    initdb = shutil.which("initdb")
    if initdb is None:
        without("initdb and postgres are not installed")
    server = PostgresServer(Path(initdb or "").parent)
    try:
        server.start()
        if server.rows("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"):
            return  # there is no PostgreSQL without it on this machine
        async with worker(server) as one:
            for _ in range(3):
                assert await Worker.ask(one, "how do I get my refund sorted") is None
    finally:
        server.end()
    assert caplog.text.count("CREATE EXTENSION vector") == 1


async def test_vectors_of_every_length_have_their_own_index(
    pgvector: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with worker(pgvector) as one:
        for number, size in enumerate((8, 8, 16, 2001)):
            one.vectors.keep(passed(str(number), size))
        await one.vectors.settled()
        found = [await one.vectors.nearest("p", "t", "b", unit(size)) for size in (8, 16, 2001)]
        assert [None if each is None else len(each.vector) // 4 for each in found] == [8, 16, None]
        names = {str(row[0]) for row in pgvector.rows("SELECT indexname FROM pg_indexes")}
        assert {"understudy_kept_questions_8", "understudy_kept_questions_16"} <= names
    assert caplog.text.count("more than 2000 values") == 1


async def test_an_answer_that_the_clock_says_is_over_is_not_served(pgvector: PostgresServer) -> None:
    async with worker(pgvector) as one:
        one.vectors.keep(passed("1", 8))
        await one.vectors.settled()
        assert await one.vectors.nearest("p", "t", "b", unit(8)) is not None
        one.vectors._clock = lambda: time.time() + 61
        assert await one.vectors.nearest("p", "t", "b", unit(8)) is None


def test_only_where_the_database_is_postgresql_with_a_sound_patience() -> None:
    assert pgvector_in({}, CIPHER) is None
    assert pgvector_in({"UNDERSTUDY_DATABASE_URL": "sqlite:////tmp/x"}, CIPHER) is None
    there = {"UNDERSTUDY_DATABASE_URL": "postgresql://u@h/d"}
    assert pgvector_in(there, CIPHER) is not None
    with pytest.raises(WrongTimeout, match="UNDERSTUDY_PGVECTOR_TIMEOUT_MS is 'soon'"):
        pgvector_in({**there, "UNDERSTUDY_PGVECTOR_TIMEOUT_MS": "soon"}, CIPHER)
