"""The ingester as a process of its own, and what survives when it is killed."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import sqlalchemy as sa
from stopwatch import Stopwatch
from storage_samples import call, script, start_ingester, text

from gateway.config import Spool as SpoolSettings
from gateway.storage.commands import CreateKey, EnqueueRun, Refused, WriterAway
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.migrations import migrate
from gateway.storage.reading.reader import open_reader
from gateway.storage.spooling import ingester
from gateway.storage.spooling.spool import Spool
from gateway.storage.values import Key
from gateway.storage.writing.writer import SqlWriter
from gateway.storage.writing.writers import open_writer, writer_lock

KEY = Key("key_1", "dev", "p", "digest", "us-…1", ("inference",), (), None, 1.0, None, None)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()


def until(holds: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def counted(home: Home) -> int:
    reader = open_reader(home)
    try:
        return sum(bucket.calls for bucket in reader.ledger(since=0, bucket_s=60))
    except sa.exc.SQLAlchemyError:
        return -1
    finally:
        reader.close()


def test_a_call_is_readable_soon_and_the_database_is_private(
    home: Home, processes: list[subprocess.Popen[bytes]]
) -> None:
    processes.append(start_ingester(home))
    until(home.writer_socket.exists)
    spool = Spool(home, SpoolSettings())
    reader = open_reader(home)
    delays = []
    for number in range(5):
        spool.append(call(f"c{number}", at=time.time(), body=text("hidden words", "a")))
        watch = Stopwatch()
        until(lambda number=number: reader.completion("p", f"c{number}") is not None)  # type: ignore[misc]
        delays.append(watch.seconds)
    assert sorted(delays)[2] < 0.3
    assert stat.S_IMODE(home.database.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.writer_socket.stat().st_mode) == 0o600
    spool.append(call("last"))
    spool.close()
    processes[0].send_signal(signal.SIGTERM)
    assert processes[0].wait(60) == 0
    assert counted(home) == 6
    assert list(home.spool.iterdir()) == []
    reader.close()


def test_kill_9_of_the_ingester_moves_every_call_once(
    home: Home, processes: list[subprocess.Popen[bytes]]
) -> None:
    spool = Spool(home, SpoolSettings(segment_bytes=64 * 1024))
    for number in range(4000):
        spool.append(call(f"c{number}", at=time.time(), body=text("q", "a")))
    for pause in (0.0, 0.05, 0.15):
        before = counted(home)
        processes.append(start_ingester(home))
        until(lambda before=before: counted(home) > before)  # type: ignore[misc]
        time.sleep(pause)
        processes[-1].kill()
        processes[-1].wait()
    spool.close()
    processes.append(start_ingester(home))
    until(lambda: counted(home) >= 4000)
    processes[-1].send_signal(signal.SIGTERM)
    assert processes[-1].wait(60) == 0
    assert counted(home) == 4000
    reader = open_reader(home)
    assert len(reader.training_calls("p", "triage", "f" * 16, limit=9000)) == 4000
    assert reader.task_versions()[0].trainable_calls == 4000
    assert reader.verify_journal() is None
    reader.close()


def test_a_stopped_ingester_leaves_its_backlog_for_the_next_start(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingester, "_PARTING_S", 0.0)
    spool = Spool(home, SpoolSettings())
    for number in range(500):
        spool.append(call(f"c{number}", at=time.time()))
    spool.close()
    stop = threading.Event()
    stop.set()
    migrate(home.database_url)
    moved = []
    for _ in range(3):
        with closing(SqlWriter(write_engine(home.database_url))) as writer:
            ingester.Ingester(home, writer, stop).run()
        moved.append(counted(home))
    assert moved == [200, 400, 500]
    assert list(home.spool.iterdir()) == []


def test_reserves_of_killed_writers_go_while_the_ingester_runs(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once an hour: each start of a gateway sets one aside, and one that cannot stay up starts often."""
    monkeypatch.setattr(ingester, "_SWEEP_S", 0.01)
    migrate(home.database_url)
    stop = threading.Event()
    with closing(SqlWriter(write_engine(home.database_url))) as writer:
        running = threading.Thread(target=ingester.Ingester(home, writer, stop).run)
        running.start()
        try:
            left = home.spool / "gateway-0-0.reserve"
            spool = Spool(home, SpoolSettings())
            left.touch()
            for path in home.spool.iterdir():
                os.utime(path, (0, 0))
            until(lambda: not left.exists())
            assert len(list(home.spool.glob("*.reserve"))) == 1, "the one of a writer that lives stays"
            spool.close()
        finally:
            stop.set()
            running.join()


COMMAND = """
from pathlib import Path
from gateway.storage.home import Home
from gateway.storage.commands import EnqueueRun
from gateway.storage.writing.writers import open_writer
writer = open_writer(Home(Path(sys.argv[1])))
print(writer.execute(EnqueueRun("train", "p", "triage", "f", {"seed": 3}, 1.0)).id)
"""


def test_commands_go_through_the_socket_or_straight_when_nobody_listens(
    home: Home, processes: list[subprocess.Popen[bytes]]
) -> None:
    writer = open_writer(home)
    assert writer.execute(CreateKey(KEY, "admin")) == KEY
    processes.append(start_ingester(home))
    until(home.writer_socket.exists)
    with pytest.raises(Refused, match="already has a key"):
        writer.execute(CreateKey(KEY, "admin"))
    other = script(COMMAND, str(home.root), stdout=subprocess.PIPE)
    run_id = other.communicate(timeout=60)[0].decode().strip()
    assert writer.execute(EnqueueRun("train", "p", "triage", "f", {}, 2.0)).id == run_id
    processes[0].kill()
    processes[0].wait()
    assert writer.execute(EnqueueRun("train", "p", "triage", "f", {}, 2.0)).id == run_id
    writer.close()


def test_nonsense_on_the_socket_harms_nobody(home: Home, processes: list[subprocess.Popen[bytes]]) -> None:
    processes.append(start_ingester(home))
    until(home.writer_socket.exists)
    for message in (b"\xff" * 64, b"\0\0\0\x04junk", b"\0\0"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.connect(str(home.writer_socket))
            peer.sendall(message)
    writer = open_writer(home)
    assert writer.execute(CreateKey(KEY, "admin")) == KEY
    writer.close()


def test_a_busy_writer_is_away_and_a_second_ingester_gives_up(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.storage.writing.writers._PATIENCE_S", 0.2)
    writer = open_writer(home)
    with writer_lock(home), pytest.raises(WriterAway):
        writer.execute(CreateKey(KEY, "admin"))
    assert writer.execute(CreateKey(KEY, "admin")) == KEY
    writer.close()


def test_reading_before_there_is_a_database_fails_clearly_and_then_works(home: Home) -> None:
    reader = open_reader(home)
    with pytest.raises(sa.exc.OperationalError):
        reader.snapshot()
    writer = open_writer(home)
    writer.execute(CreateKey(KEY, "admin"))
    writer.close()
    assert reader.snapshot().keys == (KEY,)
    reader.close()


def test_a_damaged_database_is_refused_after_a_crash(
    home: Home, processes: list[subprocess.Popen[bytes]]
) -> None:
    writer = open_writer(home)
    writer.execute(CreateKey(KEY, "admin"))
    writer.close()
    (home.root / "ingester.running").touch()
    content = bytearray(home.database.read_bytes())
    content[4096:40960] = b"\xaa" * (40960 - 4096)
    home.database.write_bytes(content)
    command = [sys.executable, "-m", "gateway.storage.spooling.ingester", "--home", str(home.root)]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert done.returncode == 3
    assert b"damaged" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_database_may_come_later(
    home: Home, processes: list[subprocess.Popen[bytes]], postgres: str
) -> None:
    spool = Spool(home, SpoolSettings())
    spool.append(call("c1"))
    spool.close()
    away = "postgresql://nobody@127.0.0.1:1/none"
    processes.append(start_ingester(home, UNDERSTUDY_DATABASE_URL=away))
    until((home.root / "ingester.running").exists)
    time.sleep(0.3)
    assert processes[0].poll() is None
    processes[0].send_signal(signal.SIGTERM)
    assert processes[0].wait(60) == 0
    assert len(list(home.spool.glob("*.seg"))) == 1
    processes.append(start_ingester(home, UNDERSTUDY_DATABASE_URL=postgres))
    until(lambda: not list(home.spool.iterdir()))
