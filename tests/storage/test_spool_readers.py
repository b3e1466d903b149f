"""A reader may look at any moment, also while the disk fails: what was appended is read once, and none is missed."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from storage_samples import call, text

from gateway.config import Spool as SpoolSettings
from gateway.errors import Unavailable
from gateway.storage.home import Home
from gateway.storage.records import AuditRecord, CallRecord
from gateway.storage.spooling.reader import SpoolReader
from gateway.storage.spooling.spool import Spool

WATCHED = ("pwrite", "fsync", "ftruncate")


def audit(number: int, size: int = 0) -> AuditRecord:
    return AuditRecord("a", "act", str(number), "r" * size, float(number))


class Watcher:
    """Reads and commits before and after each call that changes a segment, as an ingester that is very quick."""

    def __init__(self, home: Home) -> None:
        self.found: list[int] = []
        self.calls: list[str] = []
        self.unreadable = 0
        self._reader, self._lock = SpoolReader(home), threading.Lock()

    def look(self) -> None:
        with self._lock:
            while (batch := self._reader.read(3)).moved:
                self.found += [int(one.subject) for one in batch.records if isinstance(one, AuditRecord)]
                self.calls += [one.id for one in batch.records if isinstance(one, CallRecord)]
                self.unreadable += batch.unreadable
                self._reader.commit(batch)


class Disk:
    """The file calls, with a reader that looks round each; ``trouble`` may raise by the call's name and file."""

    def __init__(self, patch: pytest.MonkeyPatch, watcher: Watcher) -> None:
        self.trouble: Callable[[str, str], None] = lambda name, path: None
        self.full, self.refused = False, 0  # full: headers still find room, and what is reserved is there
        for name in WATCHED:
            patch.setattr(os, name, self._watched(name, getattr(os, name), watcher))

    def _watched(self, name: str, real: Callable[..., object], watcher: Watcher) -> Callable[..., object]:
        def watched(descriptor: int, *rest: object) -> object:
            path = Path(f"/proc/self/fd/{descriptor}").readlink().name
            watcher.look()
            try:
                self.trouble(name, path)
                if self.full and name == "pwrite":
                    self._room(descriptor, *rest)  # type: ignore[arg-type]
                return real(descriptor, *rest)
            finally:
                watcher.look()

        return watched

    def _room(self, descriptor: int, data: bytes, offset: int) -> None:
        if offset and os.fstat(descriptor).st_size < offset + len(data):
            self.refused += 1
            raise OSError(errno.ENOSPC, "No space left on device")


def number_of(path: str) -> int:
    """The number of a segment's file, named or not yet; 0 for what is none."""
    stem = path.partition(".")[0]
    return int(stem.rpartition("-")[2]) if stem.count("-") == 3 else 0


@pytest.fixture
def watcher(home: Home) -> Watcher:
    return Watcher(home)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, watcher: Watcher) -> Disk:
    return Disk(monkeypatch, watcher)


def opened(home: Home, **settings: int) -> Spool:
    return Spool(home, SpoolSettings(fsync_interval_s=0.005, **settings))


async def safe(spool: Spool) -> None:
    await asyncio.wait_for(spool.durable(), 60)


@pytest.mark.parametrize("begun", [1, 2])
async def test_segments_that_were_begun_while_an_fsync_failed_hide_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch, begun: int
) -> None:
    spool = opened(home)
    real, entered, go_on = os.fsync, threading.Event(), threading.Event()

    def fsync(descriptor: int) -> None:
        if not entered.is_set():
            entered.set()
            assert go_on.wait(60)
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    spool.append(audit(0))
    assert await asyncio.to_thread(entered.wait, 60)
    count = 1
    for _ in range(begun):
        spool.append(audit(count))
        spool.rotate()
        spool.append(audit(count + 1))
        count += 2
    go_on.set()
    await safe(spool)  # acknowledged: no reader may miss one of them, whenever it looks
    watcher = Watcher(home)
    watcher.look()
    assert (watcher.found, watcher.unreadable) == (list(range(count)), 0)
    spool.append(audit(count))
    spool.close()
    watcher.look()
    assert (watcher.found, watcher.unreadable) == (list(range(count + 1)), 0)


@pytest.mark.parametrize("failing", [{1}, {1, 2}, {1, 2, 3, 4}, {2, 3, 5}])
async def test_failing_fsyncs_under_a_reader(
    home: Home, watcher: Watcher, disk: Disk, failing: set[int]
) -> None:
    spool = opened(home, segment_bytes=4096)
    count = 0

    def trouble(name: str, path: str) -> None:
        nonlocal count
        if name == "fsync":
            count += 1
            if count in failing:
                raise OSError(errno.EIO, "Input/output error")

    disk.trouble = trouble
    for number in range(60):
        spool.append(audit(number, 100))
        if number % 20 == 10:
            await safe(spool)
    await safe(spool)
    spool.close()
    watcher.look()
    assert count > max(failing)
    assert (watcher.found, watcher.unreadable) == (list(range(60)), 0)


async def test_a_folder_that_cannot_be_synced_takes_no_segment_out_of_line(
    home: Home, watcher: Watcher, disk: Disk
) -> None:
    """The new segment has its name already when the folder's fsync fails: it stays, or what came before would be lost."""
    spool = opened(home)
    spool.append(audit(0))
    await safe(spool)
    failing = {"spool": 3}
    broken: list[str] = []

    def trouble(name: str, path: str) -> None:
        if name == "fsync" and not broken and number_of(path):
            broken.append(path)
            raise OSError(errno.EIO, "Input/output error")
        if name == "fsync" and broken and failing.get(path, 0):
            failing[path] -= 1
            raise OSError(errno.EIO, "Input/output error")

    disk.trouble = trouble
    for number in range(1, 30):
        spool.append(audit(number))
        await asyncio.sleep(0.002)
    await safe(spool)
    spool.append(audit(30))
    spool.close()
    watcher.look()
    assert broken and not failing["spool"]
    assert (watcher.found, watcher.unreadable) == (list(range(31)), 0)


def test_a_segment_that_could_not_be_begun_was_never_seen(home: Home, watcher: Watcher, disk: Disk) -> None:
    """A reader that saw it would take the one before for finished and remove it, while records still go there."""
    spool = opened(home, segment_bytes=4096)
    spool.append(call("before"))
    failed: list[str] = []

    def trouble(name: str, path: str) -> None:
        if name == "pwrite" and number_of(path) == 2 and len(failed) < 2:
            failed.append(path)
            if len(failed) == 2:  # the header found room, the record does not
                raise OSError(errno.ENOSPC, "No space left on device")

    disk.trouble = trouble
    spool.append(call("large", body=text("q" * 5000, "a")))  # goes without its text where the last one went
    spool.append(call("after"))
    assert len(failed) == 2 and spool.stats()["text_dropped"] == 1 and spool.stats()["lost"] == 0
    spool.close()
    watcher.look()
    assert (watcher.calls, watcher.unreadable) == (["before", "large", "after"], 0)


def test_the_reserve_in_use_is_not_taken_for_finished_while_space_is_looked_for(
    home: Home, watcher: Watcher, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gateway.storage.spooling.spool._PROBE_S", 0.0
    )  # every record looks whether space is back
    spool = opened(home, segment_bytes=4096, reserve_bytes=65536)
    spool.append(audit(0))
    disk.full = True
    for number in range(1, 12):
        spool.append(audit(number))
    assert disk.refused > 5 and spool.stats()["degraded"] == 1
    disk.full = False
    spool.append(audit(12))
    assert spool.stats()["lost"] == 0 and spool.stats()["degraded"] == 0
    spool.close()
    watcher.look()
    assert (watcher.found, watcher.unreadable) == (list(range(13)), 0)


async def test_what_no_copy_was_kept_of_is_never_called_safe(
    home: Home, watcher: Watcher, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails while more waits for it than is kept for being written once more."""
    monkeypatch.setattr("gateway.storage.spooling.spool._UNSYNCED_BYTES", 2000)
    spool = opened(home)
    spool.append(audit(0))
    await safe(spool)
    broken: list[str] = []
    entered, go_on = threading.Event(), threading.Event()

    def trouble(name: str, path: str) -> None:
        if name == "fsync" and number_of(path) and not broken:
            broken.append(path)
            entered.set()
            assert go_on.wait(60)
            raise OSError(errno.EIO, "Input/output error")

    disk.trouble = trouble
    spool.append(audit(1, 500))
    assert await asyncio.to_thread(entered.wait, 60)
    for number in range(2, 10):
        spool.append(audit(number, 500))
    waiting = asyncio.ensure_future(spool.durable())
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(Unavailable, match="not known") as told:
        await asyncio.wait_for(waiting, 60)
    assert told.value.code == "record_in_doubt"
    assert 0 < spool.stats()["in_doubt"] < 9
    for number in range(10, 13):  # and it goes on as if nothing had been, in one segment
        spool.append(audit(number))
        await safe(spool)
    assert len(list(home.spool.glob("*.seg"))) == 1 and spool.stats()["unsynced"] == 0
    spool.close()
    watcher.look()
    assert (watcher.found, watcher.unreadable) == (list(range(13)), 0)


async def test_what_was_written_anew_is_synced_once(home: Home, watcher: Watcher, disk: Disk) -> None:
    spool = opened(home)
    spool.append(audit(0))
    await safe(spool)
    synced: list[int] = []

    def trouble(name: str, path: str) -> None:
        if name == "fsync" and (number := number_of(path)):
            synced.append(number)
            if number == 1:
                raise OSError(errno.EIO, "Input/output error")

    disk.trouble = trouble
    spool.append(audit(1))
    await safe(spool)
    assert synced == [1, 2]
    spool.close()


def test_the_reserve_waits_for_records_that_fit_it(home: Home, watcher: Watcher, disk: Disk) -> None:
    spool = opened(home, reserve_bytes=4096)
    spool.append(audit(0))
    disk.full = True
    spool.append(audit(1, 9000))
    assert spool.stats()["lost"] == 1 and list(home.spool.glob("*.reserve"))
    spool.append(audit(2))
    assert spool.stats()["lost"] == 1 and not list(home.spool.glob("*.reserve"))
    spool.close()
    watcher.look()
    assert (watcher.found, watcher.unreadable) == ([0, 2], 0)
