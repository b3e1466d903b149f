"""Blocks of a segment that exist before they are written: nothing of them is ever a record, and nobody needs them."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config import Spool as SpoolSettings
from gateway.storage.home import Home
from gateway.storage.records import AuditRecord, SpoolRecord
from gateway.storage.spooling.reader import SpoolReader
from gateway.storage.spooling.spool import Spool

FAST = SpoolSettings(fsync_interval_s=0.005)


def audit(number: int) -> AuditRecord:
    return AuditRecord("a", "act", str(number), "r" * 300, float(number))


def numbers(records: list[SpoolRecord]) -> list[int]:
    return [int(record.subject) for record in records if isinstance(record, AuditRecord)]


def segment(home: Home) -> Path:
    (path,) = home.spool.glob("*.seg")
    return path


@asynccontextmanager
async def with_room(home: Home, settings: SpoolSettings = FAST) -> AsyncIterator[Spool]:
    """A spool with three records on the disk."""
    spool = Spool(home, settings)
    for number in range(3):
        spool.append(audit(number))
    await spool.durable()
    try:
        yield spool
    finally:
        spool.close()


async def test_it_is_made_ahead_read_over_and_given_back(home: Home) -> None:
    async with with_room(home) as spool:
        path, reader = segment(home), SpoolReader(home)
        assert path.stat().st_size > 100_000
        batch = reader.read()
        assert numbers(batch.records) == [0, 1, 2] and not batch.finished
        reader.commit(batch)
        assert not reader.read().moved
        for number in range(3, 2_500):  # far beyond the first room
            spool.append(audit(number))
            if number % 500 == 0:
                await spool.durable()
        found: list[int] = []
        while (batch := reader.read(400)).moved:
            found += numbers(batch.records)
            reader.commit(batch)
        assert found == list(range(3, 2_500))
        spool.append(audit(2_500))
        await spool.durable()
        full = path.stat().st_size
    assert path.stat().st_size < full and not path.read_bytes().endswith(b"\0" * 64)
    reader.commit(reader.read())
    assert not path.exists()


async def test_that_of_a_writer_who_was_killed_ends_its_segment(home: Home) -> None:
    async with with_room(home):
        left = segment(home).read_bytes()
        name = segment(home).name
    segment(home).unlink()
    (home.spool / name).write_bytes(left)  # nobody holds it any more
    reader = SpoolReader(home)
    batch = reader.read()
    assert numbers(batch.records) == [0, 1, 2] and batch.unreadable == 0
    reader.commit(batch)
    assert list(home.spool.iterdir()) == []


async def test_what_a_power_cut_left_behind_a_hole_is_found_once_nobody_writes(home: Home) -> None:
    async with with_room(home) as spool:
        for number in range(3, 600):
            spool.append(audit(number))
        await spool.durable()
        whole, name = segment(home).read_bytes(), segment(home).name
    segment(home).unlink()
    hole = slice(8_192, 8_192 + 131_072)
    (home.spool / name).write_bytes(whole[: hole.start] + bytes(hole.stop - hole.start) + whole[hole.stop :])
    batch = SpoolReader(home).read(10_000)
    found = numbers(batch.records)
    assert found[0] == 0 and found[-1] == 599 and batch.unreadable == 600 - len(found)


async def test_without_any_to_be_had_everything_is_written_all_the_same(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    async with with_room(home):
        assert segment(home).stat().st_size < 4_096
        assert numbers(SpoolReader(home).read().records) == [0, 1, 2]


async def test_it_is_never_larger_than_a_segment(home: Home) -> None:
    async with with_room(home, SpoolSettings(segment_bytes=8_192, fsync_interval_s=0.005)):
        assert segment(home).stat().st_size <= 8_192
