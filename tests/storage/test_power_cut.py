"""The power is cut at any moment: what was safe is there once, and nothing that is no record is taken for one.

What a disk may keep is drawn by seed (``tests/torn_disk.py``). Each life appends, syncs, ingests and begins anew as its
seed says, and remembers how the disk could look at many moments; then the machine comes up again on each of them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from migrated import migrated
from torn_disk import TornDisk, mixed

from gateway.access import admin_key
from gateway.client_data.batch_lines import Outputs
from gateway.config import Spool as SpoolSettings
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import AuditRecord, SpoolRecord
from gateway.storage.settled import write_whole
from gateway.storage.spooling.format import SpoolKeyError, load_cipher
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.spooling.reader import Position, SpoolReader
from gateway.storage.spooling.spool import Spool
from gateway.storage.tables import JOURNAL
from gateway.storage.writing.writer import SqlWriter

OFTEN = 0.125  # the power is cut at one call in eight that changes the folder
SMALL = SpoolSettings(
    fsync_interval_s=3600, segment_bytes=2048, reserve_bytes=4096
)  # synced when a life says so


def audit(number: int, size: int) -> AuditRecord:
    return AuditRecord("a", "act", str(number), "r" * size, float(number))


def subjects(records: list[SpoolRecord]) -> list[str]:
    return [one.subject for one in records if isinstance(one, AuditRecord)]


class Appending:
    """A spool under another every now and then, and which of its records were called safe."""

    def __init__(self, home: Home, rng: random.Random) -> None:
        self.appended: dict[str, AuditRecord] = {}
        self.safe: set[str] = set()
        self._home, self._rng = home, rng
        self._spool, self._written = Spool(home, SMALL), list[str]()

    def append(self) -> None:
        one = audit(len(self.appended), self._rng.choice((0, 40, 700)))
        self.appended[one.subject] = one
        self._spool.append(one)
        self._written.append(one.subject)
        assert not self._spool.stats()["lost"]

    def sync(self) -> None:
        self._spool._sync_once()
        unsynced = int(self._spool.stats()["unsynced"])
        self.safe |= set(self._written[: len(self._written) - unsynced])

    def begin_anew(self) -> None:
        self._spool.close()
        self._spool, self._written = Spool(self._home, SMALL), []

    def close(self) -> None:
        self._spool.close()


# ---------------------------------------------------------------- the spool under a quick reader
@dataclass
class Cut:
    """One way in which the power was cut: what had been called safe, what was stored elsewhere, what the disk kept."""

    safe: set[str]
    stored: list[SpoolRecord]
    positions: dict[str, Position]
    files: dict[str, bytes]


@dataclass
class Life:
    """A spool and its reader over a disk whose fsyncs fail so often."""

    home: Home
    disk: TornDisk
    rng: random.Random
    failing: float
    stored: list[SpoolRecord] = field(default_factory=list)
    positions: dict[str, Position] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=list)

    def live(self) -> dict[str, AuditRecord]:
        spool, reader = Appending(self.home, self.rng), SpoolReader(self.home)
        self.disk.before = lambda call, name: self._before(call, spool)
        for _ in range(60):
            spool.append()
            if self.rng.random() < 0.3:
                spool.sync()
            if self.rng.random() < 0.2:
                batch = reader.read(5)
                self.stored += batch.records
                self.positions |= batch.positions
                reader.commit(batch)
        self.disk.before = lambda call, name: None
        spool.close()
        return spool.appended

    def _before(self, call: str, spool: Appending) -> None:
        if self.rng.random() < OFTEN:
            files = self.disk.survives(self.rng)
            self.cuts.append(Cut(set(spool.safe), list(self.stored), dict(self.positions), files))
        if call == "fsync" and self.rng.random() < self.failing:
            raise OSError(errno.EIO, "Input/output error")


def put(home: Home, files: dict[str, bytes]) -> None:
    for path in home.spool.iterdir():
        path.unlink()
    for name, data in files.items():
        (home.spool / name).write_bytes(data)


def recovered(home: Home, cut: Cut) -> list[SpoolRecord]:
    """What is stored once the machine is up again and what the disk kept has been read."""
    put(home, cut.files)
    reader, records, moved = SpoolReader(home, cut.positions), list(cut.stored), True
    while moved:
        batch = reader.read(7)
        records += batch.records
        reader.commit(batch)
        moved = batch.moved
    assert not list(home.spool.glob("*.seg"))
    return records


@pytest.fixture
def again(home: Home, tmp_path: Path) -> Home:
    """Where the machine comes up again, with the same keys."""
    load_cipher(home)
    fresh = Home(tmp_path / "again").prepare()
    shutil.copy(home.secrets / "spool.key", fresh.secrets)
    return fresh


@pytest.mark.parametrize("failing", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(8))
def test_what_was_safe_is_there_once(
    home: Home, again: Home, monkeypatch: pytest.MonkeyPatch, seed: int, failing: float
) -> None:
    with monkeypatch.context() as patch:
        life = Life(home, TornDisk(home.spool, patch), random.Random(seed), failing)
        appended = life.live()
    assert len(life.cuts) > 5
    for number, cut in enumerate(life.cuts):
        found = recovered(again, cut)
        names = subjects(found)
        assert len(names) == len(found) == len(set(names)), (number, names)
        assert not cut.safe - set(names), (number, cut.safe - set(names))
        assert all(one == appended[one.subject] for one in found if isinstance(one, AuditRecord))


# ---------------------------------------------------------------- spool and database together
@dataclass
class State:
    """The database's two files."""

    main: bytes
    log: bytes

    @classmethod
    def of(cls, home: Home) -> State:
        log = home.database.with_name(home.database.name + "-wal")
        return cls(home.database.read_bytes(), log.read_bytes() if log.exists() else b"")

    def towards(self, later: State, rng: random.Random) -> State:
        """Cut off on the way: SQLite syncs the log before it changes the main file, and that before it begins the
        log anew (https://www.sqlite.org/wal.html), so one of the two is whole."""
        if rng.random() < 0.5:
            return State(self.main, mixed([self.log, later.log], rng))
        return State(mixed([self.main, later.main], rng), later.log)

    def put(self, home: Home) -> None:
        for ending in ("-wal", "-shm"):
            home.database.with_name(home.database.name + ending).unlink(missing_ok=True)
        home.database.write_bytes(self.main)
        if self.log:
            home.database.with_name(home.database.name + "-wal").write_bytes(self.log)


@dataclass
class Ingested:
    safe: set[str]
    state: State
    files: dict[str, bytes]


class Ingesting:
    """A spool and its ingester; the power is cut within transactions, before their files go, and after."""

    def __init__(self, home: Home, disk: TornDisk, rng: random.Random) -> None:
        self.cuts: list[Ingested] = []
        self._home, self._disk, self._rng = home, disk, rng
        self._writer = SqlWriter(engine := write_engine(home.database_url))
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_autocheckpoint = 20")
        self._spool = Appending(home, rng)

    def live(self) -> None:
        ingester = self._fresh()
        for _ in range(50):
            self._spool.append()
            if self._rng.random() < 0.4:
                self._spool.sync()
            if self._rng.random() < 0.3:
                self._step(ingester)
            if self._rng.random() < 0.15:
                self._spool.begin_anew()
            if self._rng.random() < 0.15:
                ingester = self._fresh()
                self._cut(State.of(self._home))
        self._spool.close()
        self._writer.close()

    def _fresh(self) -> Ingester:
        return Ingester(self._home, self._writer, threading.Event())

    def _step(self, ingester: Ingester) -> None:
        before, files = State.of(self._home), self._disk.survives(self._rng)
        self._disk.before = lambda call, name: self._cut(State.of(self._home))  # they go when it is committed
        ingester.step()
        self._disk.before = lambda call, name: None
        state = before.towards(State.of(self._home), self._rng)
        self.cuts.append(Ingested(set(self._spool.safe), state, files))

    def _cut(self, state: State) -> None:
        self.cuts.append(Ingested(set(self._spool.safe), state, self._disk.survives(self._rng)))


def journal_of(home: Home) -> list[str]:
    """Whose records are in it, once the ingester of the machine that is up again has read all there is."""
    engine = write_engine(home.database_url)
    with closing(SqlWriter(engine)) as writer:
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        Ingester(home, writer, threading.Event()).drain()
        with closing(open_reader(home)) as reader:
            assert reader.verify_journal() is None
        with engine.connect() as connection:
            return list(
                connection.execute(sa.select(JOURNAL.c.subject).where(JOURNAL.c.actor == "a")).scalars()
            )


@pytest.mark.parametrize("seed", range(3))
def test_the_ledger_has_each_safe_record_once(
    home: Home, again: Home, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    migrated(home)
    with monkeypatch.context() as patch:
        life = Ingesting(home, TornDisk(home.spool, patch), random.Random(seed))
        life.live()
    assert len(life.cuts) > 15
    for number, cut in enumerate(life.cuts):
        put(again, cut.files)
        cut.state.put(again)
        names = journal_of(again)
        assert len(names) == len(set(names)), (number, sorted(names))
        assert not cut.safe - set(names), (number, cut.safe - set(names))


# ---------------------------------------------------------------- names, and what else is kept
@pytest.fixture
def rng() -> Iterator[random.Random]:
    yield random.Random(1)


def test_a_data_directory_and_its_keys_outlive_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sealed under a key, and safe, could not be read any more if the key's name were lost."""
    monkeypatch.delenv("UNDERSTUDY_SPOOL_KEY", raising=False)
    home = Home(tmp_path / "data" / "home")
    with monkeypatch.context() as patch:
        roots = [TornDisk(tmp_path, patch), TornDisk(tmp_path / "data", patch), TornDisk(home.root, patch)]
        home.prepare()
        assert (
            "data" in roots[0].safe()
            and "home" in roots[1].safe()
            and {"spool", "secrets", "files"} <= roots[2].safe().keys()
        )
        secrets = TornDisk(home.secrets, patch)
        load_cipher(home)
        assert secrets.safe()["spool.key"] == (home.secrets / "spool.key").read_bytes()
        admin_key.ensure(home, {})
        assert secrets.safe()["admin.sha256"] == (home.secrets / "admin.sha256").read_bytes()


def test_a_file_that_was_written_whole_is_whole_or_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: random.Random
) -> None:
    found: list[bytes | None] = []
    with monkeypatch.context() as patch:
        disk = TornDisk(tmp_path, patch)
        disk.before = lambda call, name: found.extend(disk.survives(rng).get("a") for _ in range(20))
        write_whole(tmp_path / "a", b"first" * 300)
        assert disk.safe()["a"] == b"first" * 300
        assert set(found) <= {None, b"first" * 300}
        found.clear()
        write_whole(tmp_path / "a", b"second" * 300)
        assert disk.safe()["a"] == b"second" * 300
        assert set(found) == {b"first" * 300, b"second" * 300}


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
async def test_a_file_system_that_cannot_sync_folders_is_no_failing_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    if code == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            Home(tmp_path / "home").prepare()
        return
    home = Home(tmp_path / "home").prepare()
    with closing(Spool(home, SpoolSettings(fsync_interval_s=0.005))) as spool:
        spool.append(audit(1, 10))
        await asyncio.wait_for(spool.durable(), 60)
        assert spool.stats()["degraded"] == 0


def test_a_torn_key_name_is_not_taken_for_another_key(
    home: Home, again: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(home, SMALL)
    spool.append(audit(1, 10))
    spool.close()
    (path,) = home.spool.glob("*.seg")
    whole = path.read_bytes()
    torn = whole[:8] + b"\0\0\0\0" + whole[12:]
    for data, kept in ((torn, ["1"]), (torn[:16], []), (torn[:60], [])):
        cut = Cut(set(), [], {}, {path.name: data})
        assert subjects(recovered(again, cut)) == kept
    monkeypatch.setenv("UNDERSTUDY_SPOOL_KEY", "A" * 43 + "=")
    for data in (whole, torn, whole[:16] + b"\0" * 20 + whole[16:]):
        with pytest.raises(SpoolKeyError):
            recovered(again, Cut(set(), [], {}, {path.name: data}))


def test_the_lines_of_a_batch_are_kept_up_to_the_first_that_is_none(tmp_path: Path) -> None:
    """A batch that was at work when the power went asks again what its files do not hold."""
    line = b'{"id":"b","custom_id":"%d","response":{"status_code":200,"request_id":"r","body":{}},"error":null}\n'
    lines = [line % number for number in range(3)]
    for torn in (b"\0" * 40 + b"\n" + lines[2], b'{"id": 3}\n' + lines[2], b"\xff\n", b"[]\n", lines[2][:30]):
        output, error = tmp_path / "output", tmp_path / "error"
        output.write_bytes(b"".join(lines[:2]) + torn)
        outputs = Outputs(output, error).open()
        outputs.close()
        assert (outputs.done, outputs.completed) == ({"0", "1"}, 2)
        assert output.read_bytes() == b"".join(lines[:2])
