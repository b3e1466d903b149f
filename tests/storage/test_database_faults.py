"""The database is away, full, held by another process, or damaged, under a gateway that goes on serving."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from faultproxy import FaultProxy, faultproxy
from gateway_server import KEY, Gateway, gateway, write_policies
from migrated import migrated
from scripted import Provider, provider
from storage_samples import call, start_ingester

from gateway.access.keys import digest_of, new_key
from gateway.config import Spool as SpoolSettings
from gateway.storage.away import DatabaseAway, said
from gateway.storage.commands import CreateKey, WriterAway
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.migrations import migrate
from gateway.storage.spooling.ingester import Damaged, Ingester, _run
from gateway.storage.spooling.spool import Spool
from gateway.storage.tables import CALLS
from gateway.storage.values import Key
from gateway.storage.writing.socket_server import WriterServer
from gateway.storage.writing.writer import SqlWriter

BODY = {"model": "triage", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def upstream() -> AsyncIterator[Provider]:
    async with provider() as made:
        yield made


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


async def until(holds: Callable[[], Any], what: str) -> None:
    async with asyncio.timeout(90):
        while not (await found if asyncio.iscoroutine(found := holds()) else found):
            await asyncio.sleep(0.02)


async def readiness(http: httpx.AsyncClient) -> tuple[int, list[str]]:
    answer = await http.get("/readyz")
    return answer.status_code, answer.json()["degraded"]


def stored(url: str) -> list[str]:
    engine = write_engine(url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(sa.select(CALLS.c.id)).scalars())
    finally:
        engine.dispose()


# ---------------------------------------------------------------- PostgreSQL is out of reach
@dataclass
class Reach:
    """A PostgreSQL behind a proxy, and a way to be kept from it."""

    direct: str
    proxy: FaultProxy
    way: str

    @property
    def url(self) -> str:
        return f"postgresql://few@127.0.0.1:{self.proxy.port}/postgres"

    def admin(self, *statements: str) -> None:
        engine = write_engine(self.direct)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for one in statements:
                connection.exec_driver_sql(one)
        engine.dispose()

    async def lose(self) -> None:
        if self.way == "refused":
            await self.proxy.refuse()
        elif self.way == "silent":
            self.proxy.hang = True
            for task in list(self.proxy.tasks):
                task.cancel()
        else:
            await asyncio.to_thread(
                self.admin, "ALTER ROLE few CONNECTION LIMIT 0",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'few'",
            )  # fmt: skip

    async def find(self) -> None:
        if self.way == "refused":
            await self.proxy.start()
        elif self.way == "silent":
            self.proxy.hang = False
            for task in list(self.proxy.tasks):
                task.cancel()
        else:
            await asyncio.to_thread(self.admin, "ALTER ROLE few CONNECTION LIMIT -1")


@pytest.fixture(params=["refused", "silent", "full"])
async def reach(request: pytest.FixtureRequest, postgres: str) -> AsyncIterator[Reach]:
    folder = parse_qs(urlsplit(postgres).query)["host"][0]
    async with faultproxy(f"{folder}/.s.PGSQL.5432") as proxy:
        made = Reach(postgres, proxy, request.param)
        made.admin(
            "DROP SCHEMA public CASCADE", "CREATE SCHEMA public", "DROP ROLE IF EXISTS few",
            "CREATE ROLE few LOGIN", "GRANT ALL ON SCHEMA public TO few",
        )  # fmt: skip
        yield made
        await asyncio.to_thread(made.admin, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public", "DROP ROLE few")


@pytest.fixture
async def processes() -> AsyncIterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for process in running:
        process.terminate()
        await asyncio.to_thread(process.wait, 60)  # the proxy goes on meanwhile


async def test_who_starts_no_ingester_is_told_of_it(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, upstream: Provider,
) -> None:  # fmt: skip
    monkeypatch.setattr("gateway.live._PATIENCE_S", 0.0)
    policies = write_policies(tmp_path / "policies", {"first": upstream.url})
    async with gateway(tmp_path, policies, home) as served, httpx.AsyncClient(base_url=served.url, timeout=60) as http:
        answer = await http.get("/readyz")
        assert answer.status_code == 503 and "understudy ingest" in answer.json()["waiting_for"]
        await until(lambda: "understudy ingest" in caplog.text, "the log says so too")
        await asyncio.to_thread(migrated, home)
        await until(lambda: ready(http), "it becomes ready without a restart")
        assert "waiting_for" not in (await http.get("/readyz")).json()
    assert caplog.text.count("still starting") == 1


def test_a_refused_password_is_named_in_the_log_and_never_told() -> None:
    words = 'connection failed: FATAL:  password authentication failed for user "app"\nDETAIL: hunter2'
    refused = sa.exc.OperationalError("SELECT 'hunter2'", {}, psycopg.OperationalError(words))
    assert said(refused) == 'OperationalError: ' + words.partition("\n")[0]
    assert said(sa.exc.DataError("INSERT", {}, psycopg.DataError("bad value: 'hunter2'"))) == "DataError"
    assert said(DatabaseAway("unable to open database file")) == "DatabaseAway: unable to open database file"


async def test_rows_34_to_37_postgres_out_of_reach(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reach: Reach, upstream: Provider,
    processes: list[subprocess.Popen[bytes]],
) -> None:  # fmt: skip
    monkeypatch.setenv("UNDERSTUDY_DATABASE_URL", reach.url)
    await reach.lose()  # already when everything starts
    processes.append(start_ingester(home, UNDERSTUDY_DATABASE_URL=reach.url))
    policies = write_policies(tmp_path / "policies", {"first": upstream.url})
    made, asked = new_key("inference"), 0
    key = Key("key_1", "app", "default", digest_of(made.text), made.hint, ("inference",), (), None, 1.0, None, None)
    async with gateway(tmp_path, policies, home) as served, httpx.AsyncClient(base_url=served.url, timeout=60) as http:

        async def ask(text: str) -> httpx.Response:
            return await http.post("/v1/chat/completions", json=BODY, headers=bearer(text))

        assert await readiness(http) == (503, ["database"])
        await reach.find()
        await until(lambda: ready(http), "it becomes ready without a restart")
        await asyncio.to_thread(add_key, reach.url, key)
        assert (await ask(made.text)).status_code == 200
        await reach.lose()
        await until(lambda: degraded(http), "it notices")
        for _ in range(20):
            assert (await ask(made.text)).status_code == 200
        unknown = await ask(new_key("inference").text)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (503, "keys_unavailable")
        assert unknown.headers["retry-after"]
        assert (await ask("sk-us-nonsense")).status_code == 401
        assert await readiness(http) == (200, ["database"])
        await reach.find()
        await until(lambda: ready(http), "it is well again")
        asked = 21
    await until(lambda: asyncio.to_thread(lambda: len(stored(reach.direct)) >= asked), "all calls arrive")
    ids = await asyncio.to_thread(stored, reach.direct)
    assert len(ids) == len(set(ids)) == asked


async def ready(http: httpx.AsyncClient) -> bool:
    return await readiness(http) == (200, [])


async def degraded(http: httpx.AsyncClient) -> bool:
    return await readiness(http) == (200, ["database"])


def add_key(url: str, key: Key) -> None:
    migrate(url)
    with contextlib.closing(SqlWriter(write_engine(url))) as writer:
        writer.execute(CreateKey(key, "admin"))


# ---------------------------------------------------------------- SQLite is full, held or damaged
class Writing:
    """The ingester's half of a house: its one connection, its socket and a thread that moves the spool."""

    def __init__(self, home: Home) -> None:
        self.home, self.stop = home, threading.Event()
        self._engine = write_engine(home.database_url)
        self.writer = SqlWriter(self._engine)
        self._server = WriterServer(home.writer_socket, self.writer)
        self._thread = threading.Thread(target=Ingester(home, self.writer, self.stop).run, daemon=True)
        self._thread.start()

    def say(self, pragma: str) -> int:
        with self.writer._lock, self._engine.connect() as connection:
            return int(connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() or 0)

    def close(self) -> None:
        self.stop.set()
        self._thread.join(60)
        self._server.close()
        self.writer.close()


@dataclass
class House:
    writing: Writing
    served: Gateway
    http: httpx.AsyncClient

    async def ask(self) -> int:
        return (await self.http.post("/v1/chat/completions", json=BODY)).status_code

    async def upload(self) -> httpx.Response:
        return await self.http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", b"{}\n")})

    def count(self) -> int:
        with contextlib.closing(sqlite3.connect(f"{self.writing.home.database.as_uri()}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(DISTINCT id) + count(id) FROM calls").fetchone()[0]) // 2


@pytest.fixture
async def house(home: Home, tmp_path: Path, upstream: Provider) -> AsyncIterator[House]:
    writing = Writing(migrated(home))
    policies = write_policies(tmp_path / "policies", {"first": upstream.url})
    async with gateway(tmp_path, policies, home) as served, httpx.AsyncClient(
        base_url=served.url, headers=bearer(KEY), timeout=60
    ) as http:  # fmt: skip
        yield House(writing, served, http)
    await asyncio.to_thread(writing.close)


def unavailable(answer: httpx.Response) -> bool:
    error = answer.json()["error"]
    told = "locked" not in answer.text and "full" not in answer.text and "sqlite" not in answer.text.lower()
    return answer.status_code == 503 and told and bool(error["message"]) and bool(answer.headers["retry-after"])


async def test_row_29_a_full_database_stops_no_call_and_loses_none(house: House) -> None:
    assert await house.ask() == 200
    await until(lambda: house.count() == 1, "the first call is stored")
    pages = await asyncio.to_thread(house.writing.say, "page_count")
    await asyncio.to_thread(house.writing.say, f"max_page_count = {pages}")
    for _ in range(120):
        assert await house.ask() == 200
    refused = [await house.upload() for _ in range(60)]
    assert unavailable(refused[-1]), refused[-1].text
    assert all(one.status_code == 200 or unavailable(one) for one in refused)
    assert (await house.http.get("/readyz")).status_code == 200
    assert house.count() < 121
    await asyncio.to_thread(house.writing.say, "max_page_count = 100000")
    await until(lambda: house.count() == 121, "all calls arrive")
    assert (await house.upload()).status_code == 200


async def test_row_32_a_database_that_somebody_holds_is_waited_for(house: House) -> None:
    with contextlib.closing(sqlite3.connect(house.writing.home.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(house.upload())
        for _ in range(5):
            assert await house.ask() == 200
        assert not waiting.done()
        other.execute("ROLLBACK")
        assert (await waiting).status_code == 200
        await until(lambda: house.count() == 5, "the calls arrive")
        await asyncio.to_thread(house.writing.say, "busy_timeout = 50")
        other.execute("BEGIN IMMEDIATE")  # for longer than anybody waits
        assert await house.ask() == 200
        assert unavailable(await house.upload())
        other.execute("ROLLBACK")
        await until(lambda: house.count() == 6, "the last one arrives, too")


def damage(home: Home, *tables: str) -> None:
    """Overwrites the pages of tables, as a disk may that is dying."""
    with contextlib.closing(sqlite3.connect(home.database)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = database.execute("PRAGMA page_size").fetchone()
        found = database.execute("SELECT tbl_name, rootpage FROM sqlite_master WHERE rootpage > 0").fetchall()
        pages = [page for name, page in found if name in tables]
    with home.database.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * size)
            file.write(b"\xaa" * size)


def test_row_33_a_page_that_breaks_while_it_runs_costs_no_record(home: Home) -> None:
    """The records are not at fault: to skip them as refused would lose them."""
    migrated(home)
    damage(home, "calls", "api_keys")
    with contextlib.closing(Spool(home, SpoolSettings())) as spool:
        for number in range(3):
            spool.append(call(f"c{number}"))
    with contextlib.closing(SqlWriter(write_engine(home.database_url))) as writer:
        with pytest.raises(Damaged, match="restore a backup"):
            _run(Ingester(home, writer, threading.Event()))
        with pytest.raises(WriterAway, match="damaged"):
            writer.execute(CreateKey(Key("k", "n", "p", "d", "h", ("inference",), (), None, 1.0, None, None), "admin"))
    home.database.unlink()
    for ending in ("-wal", "-shm"):
        home.database.with_name(home.database.name + ending).unlink(missing_ok=True)
    migrated(home)  # a backup was put back
    with contextlib.closing(SqlWriter(write_engine(home.database_url))) as writer:
        Ingester(home, writer, threading.Event()).drain()
    assert sorted(stored(home.database_url)) == ["c0", "c1", "c2"]
