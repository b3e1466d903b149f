"""A real PostgreSQL for tests, and one with the extension pgvector."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

_QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}


class PostgresServer:
    """On a unix socket of its own, to be stopped, killed and started again by a test. ``binaries``: their folder."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="understudy-pg-", dir="/tmp"))
        if _as_postgres():
            shutil.chown(self.folder, "postgres")
        self.data = self.folder / "data"
        self.process: subprocess.Popen[bytes] | None = None
        words = [binaries / "initdb", "-D", self.data, "-U", "understudy", "--no-sync", "-A", "trust"]
        subprocess.run(words, check=True, **_QUIET, **_as_postgres())

    @property
    def url(self) -> str:
        return f"postgresql://understudy@/postgres?host={self.folder}"

    def start(self) -> None:
        words = [self._binaries / "postgres", "-D", self.data, "-k", self.folder]
        quick = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=32MB"]
        self.process = subprocess.Popen([*words, *quick], **_QUIET, **_as_postgres())
        for _ in range(2000):
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        pytest.fail("PostgreSQL did not start")

    def stop(self) -> None:
        """At once, as a crash would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(60)
            self.process = None

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(query)
            return found.fetchall() if found.description is not None else []

    def end(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)


def _as_postgres() -> dict[str, object]:
    """PostgreSQL refuses to run as root; the user it was installed with runs it then."""
    if os.getuid() != 0:
        return {}
    return {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid, "extra_groups": []}


def without(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI may skip nothing")
    pytest.skip(what)


@pytest.fixture(scope="session")
def pgvector_server() -> Iterator[PostgresServer]:
    """One with the extension, which Debian's is without; the variable says where its binaries are."""
    named = os.environ.get("UNDERSTUDY_TEST_PGVECTOR")
    if not named or not (Path(named) / "initdb").is_file():
        without("UNDERSTUDY_TEST_PGVECTOR names no folder with the binaries of a PostgreSQL with pgvector")
    server = PostgresServer(Path(named or ""))
    server.start()
    yield server
    server.end()


@pytest.fixture
def pgvector(pgvector_server: PostgresServer) -> PostgresServer:
    """Running, and empty."""
    if pgvector_server.process is None:
        pgvector_server.start()
    pgvector_server.rows("DROP SCHEMA public CASCADE")
    pgvector_server.rows("CREATE SCHEMA public")
    return pgvector_server
