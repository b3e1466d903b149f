from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from stopwatch import Stopwatch
from storage_samples import call, script, text

from gateway.config import Spool as SpoolSettings
from gateway.storage.home import Home
from gateway.storage.records import AuditRecord, SpoolRecord
from gateway.storage.spooling.format import SpoolKeyError
from gateway.storage.spooling.reader import SpoolReader
from gateway.storage.spooling.spool import Spool

FAST = SpoolSettings(fsync_interval_s=0.005)


def audit(number: int, size: int = 0) -> AuditRecord:
    return AuditRecord("a", "act", str(number), "r" * size, float(number))


def numbers(records: list[SpoolRecord]) -> list[int]:
    return [int(record.subject) for record in records if isinstance(record, AuditRecord)]


def read_all(home: Home) -> tuple[list[SpoolRecord], int]:
    reader = SpoolReader(home)
    records: list[SpoolRecord] = []
    unreadable = 0
    while (batch := reader.read(7)).moved:
        records += batch.records
        unreadable += batch.unreadable
        reader.commit(batch)
    return records, unreadable


def segments(home: Home) -> list[Path]:
    return sorted(home.spool.glob("*.seg"))


def written(home: Home, count: int, settings: SpoolSettings = FAST) -> None:
    spool = Spool(home, settings)
    for number in range(count):
        spool.append(audit(number))
    spool.close()


def test_what_is_appended_is_read_and_the_files_go(home: Home) -> None:
    written(home, 200, SpoolSettings(segment_bytes=4096, fsync_interval_s=0.005))
    assert len(segments(home)) > 3
    records, unreadable = read_all(home)
    assert numbers(records) == list(range(200))
    assert unreadable == 0
    assert list(home.spool.iterdir()) == []


def test_a_live_segment_is_tailed_and_kept(home: Home) -> None:
    spool = Spool(home, FAST)
    reader = SpoolReader(home)
    for number in range(3):
        spool.append(audit(number))
        batch = reader.read()
        assert numbers(batch.records) == [number]
        reader.commit(batch)
    assert len(segments(home)) == 1
    spool.close()
    reader.commit(reader.read())
    assert segments(home) == []


def test_reading_again_from_the_cursor_without_a_commit(home: Home) -> None:
    written(home, 5)
    reader = SpoolReader(home)
    assert reader.read().records == reader.read().records


def test_several_writers_do_not_meet(home: Home) -> None:
    spools = [Spool(home, FAST, name=f"worker {n}") for n in range(3)]
    for number in range(30):
        spools[number % 3].append(audit(number))
    for spool in spools:
        spool.close()
    assert sorted(numbers(read_all(home)[0])) == list(range(30))


def test_torn_at_every_byte_keeps_everything_before(home: Home) -> None:
    written(home, 4)
    (path,) = segments(home)
    whole = path.read_bytes()
    kept = []
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        found = numbers(read_all(home)[0])
        assert found == list(range(len(found)))
        kept.append(len(found))
    assert kept == sorted(kept)
    assert kept[-1] == 4


def test_a_flipped_byte_anywhere_loses_at_most_one_record_and_is_counted(home: Home) -> None:
    written(home, 4)
    (path,) = segments(home)
    whole = path.read_bytes()
    for at in range(16, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
        records, unreadable = read_all(home)
        found = numbers(records)
        assert len(found) == 3, at
        assert unreadable == 1, at
        assert found == sorted(found)


def test_a_damaged_header_does_not_cost_the_records(home: Home) -> None:
    written(home, 4)
    (path,) = segments(home)
    path.write_bytes(b"X" * 8 + path.read_bytes()[8:])
    assert numbers(read_all(home)[0]) == [0, 1, 2, 3]


def test_text_is_encrypted_and_another_key_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(home, FAST)
    spool.append(call("c1", body=text("a very secret question", "an answer")))
    spool.close()
    (path,) = segments(home)
    assert b"secret" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (home.secrets / "spool.key").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("UNDERSTUDY_SPOOL_KEY", "A" * 43 + "=")
    with pytest.raises(SpoolKeyError, match="another key"):
        read_all(home)
    assert segments(home) == [path]
    monkeypatch.setenv("UNDERSTUDY_SPOOL_KEY", "short")
    with pytest.raises(SpoolKeyError, match="32 bytes"):
        Spool(home, FAST)


async def test_durable_waits_for_the_disk(home: Home) -> None:
    spool = Spool(home, FAST)
    await spool.durable()
    spool.append(audit(1))
    assert spool.stats()["unsynced"] == 1
    await asyncio.wait_for(spool.durable(), 60)
    assert spool.stats()["unsynced"] == 0
    spool.close()


async def test_a_slow_disk_does_not_slow_appending(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(home, FAST)
    spool.append(audit(0))
    await spool.durable()
    real = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(0.3)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    spool.append(audit(1))
    await asyncio.sleep(0.05)
    watch = Stopwatch()
    for number in range(2, 102):
        spool.append(audit(number))
    assert watch.seconds < 0.15
    await spool.durable()
    spool.close()


@pytest.mark.parametrize("failing", [{1}, {2}, {1, 2, 3}])
async def test_a_failed_fsync_is_never_believed(
    home: Home, monkeypatch: pytest.MonkeyPatch, failing: set[int]
) -> None:
    spool = Spool(home, FAST)
    spool.append(audit(0))
    await spool.durable()
    real, count, failed = os.fsync, 0, set()

    def fsync(descriptor: int) -> None:
        nonlocal count
        count += 1
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        assert path not in failed, "fsync was tried again on a segment that had failed"
        if count in failing:
            failed.add(path)
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    for number in range(1, 50):
        spool.append(audit(number))
    await asyncio.wait_for(spool.durable(), 60)
    monkeypatch.setattr(os, "fsync", real)
    spool.append(audit(50))
    spool.close()
    assert numbers(read_all(home)[0]) == list(range(51))


async def test_a_reader_that_saw_the_doubted_records_takes_them_once(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(home, SpoolSettings(fsync_interval_s=0.1))
    reader = SpoolReader(home)
    spool.append(audit(1))
    batch = reader.read()
    reader.commit(batch)
    found = numbers(batch.records)
    real, broken = os.fsync, []

    def once(descriptor: int) -> None:
        if not broken:
            broken.append(descriptor)
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", once)
    await asyncio.wait_for(spool.durable(), 60)
    spool.append(audit(2))
    batch = reader.read()
    spool.close()
    assert found + numbers(batch.records) == [1, 2]


def test_a_full_disk_drops_text_first_then_uses_the_reserve_and_recovers(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(home, SpoolSettings(reserve_bytes=4096, fsync_interval_s=0.005))
    real, full = os.pwrite, True

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        reserved = os.fstat(descriptor).st_size >= offset + len(data)
        if full and not reserved:
            return real(descriptor, data[:5], offset) if len(data) > 5 else 0
        return real(descriptor, data, offset)

    spool.append(call("before", body=text("q", "a")))
    monkeypatch.setattr(os, "pwrite", pwrite)
    for number in range(30):
        spool.append(call(f"full{number}", body=text("q", "a")))
    stats = spool.stats()
    assert stats["degraded"] == 1
    assert stats["text_dropped"] == 30
    assert 0 < stats["lost"] < 30
    full = False
    time.sleep(0.55)
    spool.append(call("after", body=text("q", "a")))
    assert spool.stats()["degraded"] == 0
    spool.close()
    records, unreadable = read_all(home)
    assert unreadable == 0
    found = {record.id: record.text for record in records}  # type: ignore[union-attr]
    assert len(found) == 2 + 30 - stats["lost"]
    assert found["before"] is not None
    assert found["full0"] is None
    assert found["after"] is not None


FULL = """
import resource, signal
from pathlib import Path
from storage_samples import call, text
from gateway.config import Spool as SpoolSettings
from gateway.storage.home import Home
from gateway.storage.spooling.spool import Spool
spool = Spool(Home(Path(sys.argv[1])), SpoolSettings(reserve_bytes=4096))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
spool.append(call("large", body=text("q" * 9000, "a")))
assert spool.stats()["text_dropped"] == 1 and spool.stats()["lost"] == 0, spool.stats()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
import time; time.sleep(0.55)
spool.append(call("again", body=text("q" * 9000, "a")))
assert spool.stats()["degraded"] == 0
spool.close()
"""


def test_a_file_size_limit_drops_text_only(home: Home) -> None:
    assert script(FULL, str(home.root)).wait(60) == 0
    records, unreadable = read_all(home)
    assert unreadable == 0
    assert [(record.id, record.text is None) for record in records] == [  # type: ignore[union-attr]
        ("large", True), ("again", False)
    ]  # fmt: skip


LOAD = """
from pathlib import Path
from gateway.config import Spool as SpoolSettings
from gateway.storage.home import Home
from gateway.storage.records import AuditRecord
from gateway.storage.spooling.spool import Spool
spool = Spool(Home(Path(sys.argv[1])), SpoolSettings(segment_bytes=16384))
number = 0
while True:
    spool.append(AuditRecord("a", "act", str(number), "r" * 300, 1.0))
    sys.stdout.buffer.write(b"%d\\n" % number)
    sys.stdout.buffer.flush()
    number += 1
"""


@pytest.mark.parametrize("pause", [0.02, 0.11, 0.3])
def test_kill_9_of_a_writer_loses_nothing_acknowledged(home: Home, pause: float) -> None:
    writer = script(LOAD, str(home.root), stdout=subprocess.PIPE)
    assert writer.stdout is not None
    receipts = writer.stdout.readline()
    deadline = time.monotonic() + pause
    while time.monotonic() < deadline:
        receipts += writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    receipts += writer.stdout.read()
    writer.stdout.close()
    writer.wait()
    acknowledged = [int(line) for line in re.findall(rb"(\d+)\n", receipts)]
    records, _ = read_all(home)
    found = numbers(records)
    assert found == list(range(len(found)))
    assert len(acknowledged) <= len(found) <= len(acknowledged) + 1
    reader = SpoolReader(home)
    for path in home.spool.iterdir():
        os.utime(path, (0, 0))
    reader.sweep()
    assert list(home.spool.iterdir()) == []
