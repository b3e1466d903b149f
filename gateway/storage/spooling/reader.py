"""Reads the segments of every spool writer, dead or alive, in order and without taking anything twice."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from msgspec import Struct

from gateway.storage.home import Home
from gateway.storage.records import SpoolRecord, decode_record
from gateway.storage.spooling.files import DRAFT_SUFFIX, RESERVE_SUFFIX, SUFFIX, is_abandoned, parse_name
from gateway.storage.spooling.format import (
    HEADER_SIZE,
    Frame,
    SpoolCipher,
    check_header,
    frame_at,
    load_cipher,
    next_frame,
)

_DRAFT_AGE_S = 60.0
_PIECE = 64 * 1024


class Position(Struct, frozen=True):
    """How far one writer has been read: next segment number, byte offset in it, last record taken."""

    segment: int = 0
    offset: int = 0
    seq: int = 0


@dataclass(slots=True)
class Batch:
    """Records read together. ``positions``: where to go on, for the writers that moved; ``finished``: segments
    that hold nothing more. ``unreadable``: records lost to damage."""

    records: list[SpoolRecord] = field(default_factory=list)
    positions: dict[str, Position] = field(default_factory=dict)
    finished: list[Path] = field(default_factory=list)
    unreadable: int = 0

    @property
    def moved(self) -> bool:
        return bool(self.positions)


class SpoolReader:
    """``read`` a batch, store its records and positions together, then ``commit`` it, which deletes what is
    finished. Not committing means reading the same again."""

    def __init__(self, home: Home, positions: dict[str, Position] | None = None) -> None:
        self._folder = home.spool
        self._cipher: SpoolCipher = load_cipher(home)
        self._positions = dict(positions or {})

    def read(self, limit: int = 200) -> Batch:
        """Up to ``limit`` records, round the writers. Raises SpoolKeyError for segments of another key."""
        batch = Batch()
        segments = self._segments()
        share = max(1, limit // max(1, len(segments)))
        for writer, numbers in segments.items():
            self._read_writer(writer, numbers, batch, len(batch.records) + share)
        return batch

    def commit(self, batch: Batch) -> None:
        self._positions.update(batch.positions)
        for path in batch.finished:
            path.unlink(missing_ok=True)

    def writers(self) -> set[str]:
        """The writers that have segments on disk."""
        return set(self._segments())

    def sweep(self) -> None:
        """Removes reserves and drafts of writers that are gone."""
        for path in [*self._folder.glob(f"*{RESERVE_SUFFIX}"), *self._folder.glob(f"*{DRAFT_SUFFIX}")]:
            try:
                old = time.time() - path.stat().st_mtime > _DRAFT_AGE_S
            except FileNotFoundError:
                continue
            if old and is_abandoned(path):
                path.unlink(missing_ok=True)

    # ------------------------------------------------------------ one writer
    def _segments(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for path in self._folder.glob(f"*{SUFFIX}"):
            name = parse_name(path.name)
            if name is not None:
                found.setdefault(name[0], []).append(name[1])
        return {writer: sorted(numbers) for writer, numbers in sorted(found.items())}

    def _read_writer(self, writer: str, numbers: list[int], batch: Batch, limit: int) -> None:
        before = position = self._positions.get(writer, Position())
        for number in numbers:
            path = self._path(writer, number)
            if number < position.segment:
                batch.finished.append(path)
                continue
            if number > position.segment:
                position = Position(number, 0, position.seq)
            closed = number != numbers[-1] or is_abandoned(path)  # asked before the last bytes are read
            newer = [self._path(writer, one) for one in numbers if one > number]
            position, finished = self._read_segment(path, position, closed, newer, batch, limit)
            if not finished:
                break
            batch.finished.append(path)
            position = Position(number + 1, 0, position.seq)
        if position != before:
            batch.positions[writer] = position

    def _path(self, writer: str, number: int) -> Path:
        return self._folder / f"{writer}-{number:08d}{SUFFIX}"

    def _read_segment(
        self, path: Path, position: Position, closed: bool, newer: list[Path], batch: Batch, limit: int
    ) -> tuple[Position, bool]:
        """Reads on in one segment, which those of ``newer`` follow. → where to go on, and whether nothing more can
        ever come."""
        data = self._bytes_from(path, position.offset, to_its_end=closed)
        at, seq = 0, position.seq
        if position.offset == 0 and check_header(data, self._cipher, path.name):
            at = HEADER_SIZE
        while len(batch.records) < limit:
            found = frame_at(data, at)
            torn = found == "torn"
            if torn:
                found = next_frame(data, at) or "torn"
                if found == "torn" and not closed:
                    break  # perhaps still being written
            gap = found.seq - seq - 1 if isinstance(found, Frame) else int(torn)
            if gap > 0 and self._copied(seq + 1, newer):
                return Position(position.segment, position.offset + len(data), seq), True
            batch.unreadable += max(1, gap) if torn else 0
            if found == "torn":
                return Position(position.segment, position.offset + len(data), seq), True
            if not isinstance(found, Frame):
                return Position(position.segment, position.offset + at, seq), closed
            at = found.end
            if found.seq > seq:  # otherwise it is a second copy
                seq = found.seq
                self._take(found.body, batch)
        return Position(position.segment, position.offset + at, seq), False

    def _copied(self, seq: int, newer: list[Path]) -> bool:
        """Whether a later segment holds record ``seq`` and all that follow: they were written once more because the
        disk had failed here. What of the first copy is left after a power cut must not be taken for news, or those
        that are lost here would be older than it there."""
        for path in newer:
            data = self._bytes_from(path, 0)
            first = next_frame(data, 0)
            if first is not None and first.seq <= seq:
                return True
        return False

    def _take(self, body: bytes, batch: Batch) -> None:
        try:
            batch.records.append(decode_record(self._cipher.open(body)))
        except (InvalidTag, msgspec.DecodeError, UnicodeDecodeError):
            batch.unreadable += 1

    @staticmethod
    def _bytes_from(path: Path, offset: int, *, to_its_end: bool = True) -> bytes:
        """Without ``to_its_end`` until nothing has been written for a while: zeros are room for what comes."""
        parts = []
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(offset)
                while part := file.read(_PIECE):
                    parts.append(part)
                    if not to_its_end and not part.rstrip(b"\0"):
                        break
        except FileNotFoundError:
            return b""
        return b"".join(parts)
