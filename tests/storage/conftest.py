from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from storage_samples import Room

from gateway.storage.home import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("UNDERSTUDY_DATABASE_URL", "UNDERSTUDY_SPOOL_KEY", "UNDERSTUDY_HOME"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path / "home").prepare()


def _as_postgres() -> dict[str, object]:
    """PostgreSQL refuses to run as root; the user it was installed with runs it then."""
    if os.getuid() != 0:
        return {}
    return {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of our own, on a unix socket."""
    initdb = shutil.which("initdb")
    server = shutil.which("postgres")
    if initdb is None or server is None:
        if os.environ.get("CI"):
            pytest.fail("initdb and postgres are not installed, and CI may skip nothing")
        pytest.skip("initdb and postgres are not installed")
    folder = Path(tempfile.mkdtemp(prefix="understudy-pg-", dir="/tmp"))
    options = _as_postgres()
    if options:
        shutil.chown(folder, "postgres")
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run(
        [initdb, "-D", data, "-U", "understudy", "--no-sync", "-A", "trust"], check=True, **quiet, **options
    )
    running = subprocess.Popen(
        [server, "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"], **quiet, **options
    )
    try:
        url = f"postgresql://understudy@/postgres?host={folder}"
        _wait(url)
        yield url
    finally:
        running.terminate()
        running.wait(60)
        shutil.rmtree(folder)


def _wait(url: str) -> None:
    import time

    from gateway.storage.engine import write_engine

    engine = write_engine(url)
    for _ in range(2000):
        try:
            with engine.connect():
                break
        except sa.exc.OperationalError:
            time.sleep(0.05)
    else:
        pytest.fail("PostgreSQL did not start")
    engine.dispose()


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
