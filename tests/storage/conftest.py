from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres_server import PostgresServer, without
from storage_samples import Room

from gateway.storage.home import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("UNDERSTUDY_DATABASE_URL", "UNDERSTUDY_SPOOL_KEY", "UNDERSTUDY_HOME"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path / "home").prepare()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of our own, on a unix socket."""
    initdb = shutil.which("initdb")
    if initdb is None:
        without("initdb and postgres are not installed")
    server = PostgresServer(Path(initdb or "").parent)
    try:
        server.start()
        yield server.url
    finally:
        server.end()


@pytest.fixture(params=["sqlite", "postgres"])
def any_home(request: pytest.FixtureRequest, home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home on either backend, its database empty."""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres")
        engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        engine.dispose()
        monkeypatch.setenv("UNDERSTUDY_DATABASE_URL", url)
    return home


@pytest.fixture
def room(any_home: Home) -> Iterator[Room]:
    made = Room(any_home)
    yield made
    made.close()
