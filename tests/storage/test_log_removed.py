"""Row 33: somebody removes SQLite's log, or its index, under running processes."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from migrated import migrated
from storage_samples import call, environment, script

from gateway.config import Spool as SpoolSettings
from gateway.storage.away import DatabaseAway
from gateway.storage.commands import CreateKey, WriterAway
from gateway.storage.home import Home
from gateway.storage.reading.light import light_reader
from gateway.storage.reading.reader import open_reader
from gateway.storage.second_name import put_back, second_name
from gateway.storage.spooling.spool import Spool
from gateway.storage.values import Key
from gateway.storage.writing.writers import open_writer

LOOK = """
from pathlib import Path
from gateway.storage.home import Home
from gateway.storage.reading.light import light_reader
from gateway.storage.reading.reader import open_reader
home = Home(Path(sys.argv[1]))
calls = sum(one.calls for one in open_reader(home).ledger(since=0, bucket_s=60))
print(calls, sorted(one.name for one in light_reader(home).snapshot().keys))
"""


class House:
    def __init__(self, home: Home) -> None:
        self.home, self.light, self.whole = migrated(home), light_reader(home), open_reader(home)
        self.spool, self.writer = Spool(home, SpoolSettings()), open_writer(home)
        self.running: list[subprocess.Popen[bytes]] = []
        self.told = 0

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "gateway.storage.spooling.ingester", "--home", str(self.home.root)]
        self.running.append(subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE))
        self.until(self.home.writer_socket.exists)
        return self.running[-1]

    def tell(self, count: int) -> None:
        for _ in range(count):
            self.told += 1
            self.spool.append(call(f"c{self.told}"))

    def calls(self) -> int:
        return sum(one.calls for one in self.whole.ledger(since=0, bucket_s=60))

    def key(self, name: str) -> None:
        """As soon as somebody can be asked for it."""
        made = Key(f"id-{name}", name, "p", f"digest-{name}", "h", ("inference",), (), None, 1.0, None, None)

        def asked() -> bool:
            with suppress(WriterAway):
                self.writer.execute(CreateKey(made, "admin"))
                return True
            return False

        self.until(asked)

    def remove(self, *endings: str) -> None:
        for one in endings:
            self.home.database.with_name(self.home.database.name + one).unlink()

    def sound(self) -> bool:
        """What SQLite itself says of the file, with nobody else's connections in the way."""
        self.close()
        with closing(sqlite3.connect(self.home.database)) as connection:
            return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])

    def seen_by_a_new_process(self) -> str:
        with script(LOOK, str(self.home.root), stdout=subprocess.PIPE) as process:
            return process.communicate(timeout=120)[0].decode().strip()

    @staticmethod
    def until(holds: Callable[[], bool]) -> None:
        end = time.monotonic() + 90
        while not holds():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.02)

    def close(self) -> None:
        """Once more is nothing."""
        while self.running:
            process = self.running.pop()
            process.kill()
            process.communicate()
        for one in (self.spool, self.light, self.whole, self.writer):
            one.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with closing(House(Home(tmp_path / "home").prepare())) as made:
        yield made


TOOL = """
import sqlite3
with sqlite3.connect(sys.argv[1], isolation_level=None) as tool:
    tool.execute("DELETE FROM api_keys")
tool.close()
"""

WRITE = """
from pathlib import Path
from gateway.storage.commands import CreateKey
from gateway.storage.home import Home
from gateway.storage.values import Key
from gateway.storage.writing.writers import open_writer
made = Key("id-there", "there", "p", "digest-there", "h", ("inference",), (), None, 1.0, None, None)
open_writer(Home(Path(sys.argv[1]))).execute(CreateKey(made, "admin"))
"""


def test_who_reads_and_writes_keeps_its_log_while_another_writer_comes_and_goes(house: House) -> None:
    """SQLite removes the log with the last connection to a database; a lock on it says that there are others."""
    assert house.calls() == 0 and house.light.snapshot().keys == ()
    house.key("here")
    with script(WRITE, str(house.home.root)) as process:
        assert process.wait(120) == 0
    house.key("again")
    assert sorted(one.name for one in house.light.snapshot().keys) == ["again", "here", "there"]
    assert house.calls() == 0
    assert house.seen_by_a_new_process() == "0 ['again', 'here', 'there']"


def test_row_33_a_removed_log_is_saved_and_another_one_begun(house: House) -> None:
    first = house.start()
    house.tell(20)
    house.key("old")
    house.until(lambda: house.calls() == 20)
    house.remove("-wal")
    house.tell(20)
    house.key("new")
    house.until(lambda: house.calls() == 40)
    names = ["new", "old"]
    assert sorted(one.name for one in house.light.snapshot().keys) == names
    first.kill()
    first.wait()
    assert house.seen_by_a_new_process() == f"40 {names}", "nothing was left in a file without a name"
    house.start()
    house.tell(1)
    house.until(lambda: house.calls() == 41)


@pytest.mark.parametrize("endings", [["-shm"], ["-wal", "-shm"]], ids=" and ".join)
def test_row_33_without_the_logs_index_everything_is_saved_and_nobody_goes_on(house: House, endings: list[str]) -> None:
    first = house.start()
    house.tell(20)
    house.key("old")
    house.until(lambda: house.calls() == 20)
    assert len(house.light.snapshot().keys) == 1
    house.remove(*endings)
    with pytest.raises(DatabaseAway, match="start them again"):
        house.light.snapshot()
    assert first.wait(90) == 3
    assert first.stderr is not None
    told = first.stderr.read().decode().splitlines()
    assert "-shm was removed" in told[-1] and not any("Traceback" in one for one in told)
    house.tell(20)
    house.start()
    house.until(lambda: house.seen_by_a_new_process() == "40 ['old']")
    with pytest.raises(DatabaseAway):
        house.light.snapshot()  # this process was not started again


def gone_with_its_writer(house: House, writer: subprocess.Popen[bytes], *endings: str) -> None:
    """What is removed, and who would have noticed is killed before it can."""
    writer.send_signal(signal.SIGSTOP)
    house.remove(*endings)
    writer.kill()
    writer.wait()


@pytest.mark.parametrize("readers", [True, False], ids=["readers", "nobody"])
def test_row_33_a_log_that_is_removed_and_its_writer_killed_at_once_come_back(house: House, readers: bool) -> None:
    first = house.start()
    house.tell(20)
    house.key("old")
    if readers:
        house.until(lambda: house.calls() == 20)
        assert [one.name for one in house.light.snapshot().keys] == ["old"]
    else:
        house.until(lambda: house.seen_by_a_new_process() == "20 ['old']")
    gone_with_its_writer(house, first, "-wal")
    if readers:
        assert house.calls() == 20, "who had it open goes on with it"
    house.tell(5)
    house.start()
    house.until(lambda: house.seen_by_a_new_process() == "25 ['old']")
    house.key("new")
    assert house.calls() == 25 and sorted(one.name for one in house.light.snapshot().keys) == ["new", "old"]
    assert house.sound()


def test_row_33_it_comes_back_however_often(house: House) -> None:
    """Also when most of it was moved into the database before, and when another log was begun in between."""
    for number in range(1, 4):
        writer = house.start()
        house.tell(10)
        house.key(f"k{number}")
        house.until(lambda: house.seen_by_a_new_process().startswith(str(house.told)))
        if number == 2:
            house.remove("-wal")
            house.until(lambda: house.home.database.with_name("understudy.db-wal").exists())
            house.tell(3)
            house.until(lambda: house.seen_by_a_new_process().startswith(str(house.told)))
        gone_with_its_writer(house, writer, "-wal")
    house.start()
    house.until(lambda: house.seen_by_a_new_process() == "33 ['k1', 'k2', 'k3']")
    assert house.sound()


def test_row_33_a_log_that_is_over_never_comes_back(house: House, tmp_path: Path) -> None:
    """A tool of somebody else's moved it into the database, removed it as SQLite does, and wrote on."""
    first = house.start()
    house.tell(5)
    house.key("old")
    house.until(lambda: house.seen_by_a_new_process() == "5 ['old']")
    first.kill()
    first.wait()
    kept = second_name(house.home.database)
    assert kept.stat().st_ino == house.home.database.with_name("understudy.db-wal").stat().st_ino
    with script(TOOL, str(house.home.database)) as process:
        assert process.wait(120) == 0
    assert kept.stat().st_size > 0 and not house.home.database.with_name("understudy.db-wal").exists()
    assert not put_back(house.home.database)
    (house.home.database.with_name("understudy.db-shm")).write_bytes(b"\x00" * 32768)
    assert not put_back(house.home.database), "nor to an index that is about another one"
    (house.home.database.with_name("understudy.db-shm")).unlink()
    house.start()
    house.until(lambda: house.seen_by_a_new_process() == "5 []")
    assert house.sound()


def test_the_second_name_goes_with_an_orderly_end(house: House) -> None:
    first = house.start()
    house.key("old")
    assert second_name(house.home.database).exists()
    first.terminate()
    assert first.wait(90) == 0
    assert not second_name(house.home.database).exists()
    with closing(open_reader(house.home)) as reader:
        assert [one.name for one in reader.snapshot().keys] == ["old"]


def test_where_there_are_no_hard_links_there_is_one_name(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    house.key("here")
    assert [one.name for one in house.light.snapshot().keys] == ["here"]
    assert not second_name(house.home.database).exists() and not put_back(house.home.database)


def locks(index: Path) -> list[str]:
    """Those that this process has on the log's index."""
    inode, mine = index.stat().st_ino, str(os.getpid())
    found = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return [" ".join(one[1:]) for one in found if mine in one and any(word.endswith(f":{inode}") for word in one)]


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs Linux's list of locks")
def test_who_connects_once_more_keeps_the_locks_of_the_process(house: House) -> None:
    """An empty log is where the index has to be looked at: opening and closing it would end them all."""
    house.key("here")
    index, log = (house.home.database.with_name(f"understudy.db-{end}") for end in ("shm", "wal"))
    assert house.light.snapshot().keys and house.whole.snapshot().keys
    with closing(sqlite3.connect(house.home.database)) as tool:
        assert tool.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        assert log.stat().st_size == 0
        before = locks(index)
        assert before, "the lock of who has it open"
        with closing(light_reader(house.home)) as light, closing(open_reader(house.home)) as whole:
            assert [one.name for one in light.snapshot().keys] == ["here"]
            assert [one.name for one in whole.snapshot().keys] == ["here"]
            assert locks(index) == before
    assert [one.name for one in house.light.snapshot().keys] == ["here"]
