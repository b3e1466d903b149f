"""PostgreSQL gives up a statement after five seconds, but where something says that it may take longer."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from gateway.storage.engine import BULK_S, STATEMENT_S, allow, read_engine, write_engine
from gateway.storage.home import Home
from gateway.storage.migrations import migrate
from gateway.storage.patience import bounded


def timeout_of(connection: sa.Connection) -> str:
    return str(connection.exec_driver_sql("SHOW statement_timeout").scalar())


def test_a_statement_may_take_five_seconds(postgres: str) -> None:
    assert (STATEMENT_S, BULK_S) == (5, 60)
    for engine, expected in (
        (write_engine(postgres), "5s"),
        (read_engine(postgres), "5s"),
        (read_engine(postgres, bulk=True), "1min"),
    ):
        with engine.connect() as connection:
            assert timeout_of(connection) == expected
        engine.dispose()


def test_a_slow_statement_is_given_up(postgres: str) -> None:
    engine = write_engine(postgres)
    with engine.begin() as connection:
        allow(connection, statement_s=0.05)
        with pytest.raises(sa.exc.OperationalError, match="statement timeout"):
            connection.exec_driver_sql("SELECT pg_sleep(30)")
    engine.dispose()


def test_longer_is_for_one_transaction(postgres: str) -> None:
    engine = write_engine(postgres)
    with engine.connect() as connection:
        with connection.begin():
            allow(connection, statement_s=3600, lock_s=10)
            assert timeout_of(connection) == "1h"
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "10s"
        assert timeout_of(connection) == "5s"
    engine.dispose()


def test_only_what_a_migration_changes_is_told(any_home: Home, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    migrate(any_home.database_url)
    said = [one.getMessage() for one in caplog.records if one.name.startswith("alembic")]
    assert said and all(line.startswith("Running upgrade") for line in said)
    caplog.clear()
    migrate(any_home.database_url)
    assert not [one for one in caplog.records if one.name.startswith("alembic")]


@pytest.fixture
def backend(postgres: str) -> Iterator[tuple[sa.Engine, int]]:
    """An engine, and the process of the server that its one open connection talks to."""
    engine = bounded(write_engine(postgres), 0.5)
    with engine.connect() as connection:
        process = int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    yield engine, process
    os.kill(process, signal.SIGCONT)
    engine.dispose()


def test_a_database_that_stands_still_is_not_waited_for(backend: tuple[sa.Engine, int]) -> None:
    engine, process = backend
    with engine.connect() as connection:
        os.kill(process, signal.SIGSTOP)
        with pytest.raises(sa.exc.OperationalError, match="has not answered") as failed:
            connection.exec_driver_sql("SELECT 1")
    assert failed.value.connection_invalidated
    with engine.connect() as connection:  # another process of the server: it is well
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1


def test_what_may_take_longer_is_waited_for_longer(postgres: str) -> None:
    engine = bounded(write_engine(postgres), -1.9)
    with engine.connect() as connection, connection.begin():
        allow(connection, statement_s=60)
        connection.exec_driver_sql("SELECT pg_sleep(0.3)")
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError, match="has not answered"):
        connection.exec_driver_sql("SELECT pg_sleep(30)")
    engine.dispose()


def test_a_connection_that_comes_back_late_is_closed(postgres: str) -> None:
    engine = read_engine(postgres)
    with engine.connect() as connection:
        held = connection.connection.dbapi_connection
        assert held is not None
        engine.dispose()
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    assert held.closed  # type: ignore[attr-defined]
