"""The spool: finished calls are appended to segment files in one write each and fsynced in groups.

What ``append`` returned for survives ``kill -9`` of this process, because it is in the kernel's hands; what
``durable`` returned for survives power loss. After an fsync has failed the kernel may have dropped the pages and
report success the next time, so such a segment is never trusted again: everything unsynced is written once more
into a new one (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).

A full disk stops text first, then falls back to a segment whose blocks were reserved at start, and only then
loses records, which are counted.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable

import msgspec

from gateway import errors
from gateway.config import Spool as SpoolSettings
from gateway.storage.home import Home
from gateway.storage.records import (
    CallRecord,
    ClientStateRecord,
    IncidentRecord,
    PairRecord,
    SpoolRecord,
    VoteRecord,
    encode_record,
)
from gateway.storage.spooling.files import Segment, SegmentFolder
from gateway.storage.spooling.format import frame, load_cipher

_log = logging.getLogger("understudy.spool")
_FULL = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
_PROBE_S = 0.5  # how often a degraded spool tries whether space has returned
_UNSYNCED_BYTES = 64 * 1024 * 1024  # kept for rewriting after a failed fsync, at most
_IN_DOUBT = (
    "The disk that keeps the records of calls is failing, and whether it has this one is not known. "
    "The operator finds more in the gateway's log and in understudy_recorder on /metrics."
)


class Spool:
    """A Recorder over files. Safe to use from several threads; one instance per process and name."""

    def __init__(self, home: Home, settings: SpoolSettings, name: str = "gateway") -> None:
        self._settings = settings
        self._cipher = load_cipher(home)
        self._folder = SegmentFolder(home.spool, name, self._cipher)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._seq = self._synced = 0
        self._written = self._text_dropped = self._lost = self._in_doubt = 0
        self._unsynced: deque[tuple[int, bytes]] = deque()
        self._unsynced_bytes = 0
        self._waiters: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._retired: list[Segment] = []
        self._degraded = False
        self._probe_at = 0.0
        self._segment: Segment | None = None
        try:
            self._segment = self._folder.create()
        except OSError as problem:
            if problem.errno not in _FULL:  # a folder we may not write to is a mistake to report at start
                raise
        self._folder.reserve(settings.reserve_bytes)
        self._syncer = threading.Thread(target=self._sync_forever, name=f"spool-{name}", daemon=True)
        self._syncer.start()

    # ------------------------------------------------------------ the Recorder protocol
    def append(self, record: SpoolRecord) -> None:
        body = self._cipher.seal(encode_record(record))
        with self._lock:
            self._append(record, body)
        if not self._wake.is_set():
            self._wake.set()

    async def durable(self) -> None:
        """Returns when everything appended so far is on stable storage. Raises Unavailable when the disk failed and
        too much was waiting for it to be written once more."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._synced >= self._seq:
                return
            future: asyncio.Future[None] = loop.create_future()
            self._waiters.append((self._seq, loop, future))
        self._wake.set()
        await future

    def stats(self) -> dict[str, float]:
        return {
            "written": self._written, "text_dropped": self._text_dropped, "lost": self._lost,
            "in_doubt": self._in_doubt, "degraded": float(self._degraded), "unsynced": self._seq - self._synced,
        }  # fmt: skip

    def rotate(self) -> None:
        """Begins a new segment, so that the one before goes as soon as it was ingested."""
        with self._lock:
            if self._closing.is_set() or self._segment is None or self._segment.reserved:
                return
            fresh = self._open_next()
            if fresh is not None:
                self._replace(fresh)
        self._wake.set()

    def close(self) -> None:
        """Syncs what is left and gives the segments up to the ingester. Idempotent."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._wake.set()
        self._syncer.join(timeout=30)
        with self._lock:
            self._release_waiters()
            for _, loop, future in self._waiters:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(future.cancel)
            for segment in [*self._retired, *([self._segment] if self._segment else [])]:
                segment.close()
            self._segment = None
            self._folder.close()

    # ------------------------------------------------------------ appending (under the lock)
    def _append(self, record: SpoolRecord, body: bytes) -> None:
        if self._closing.is_set():
            self._lost += 1
            return
        probing = not self._degraded or time.monotonic() >= self._probe_at
        if probing:
            if self._write(body):
                if self._degraded:
                    self._recover()
                return
            self._degraded = True
            self._probe_at = time.monotonic() + _PROBE_S
        bare = _without_text(record)
        if bare is not record:
            self._text_dropped += 1
            body = self._cipher.seal(encode_record(bare))
        on_reserve = self._segment is not None and self._segment.reserved
        if not on_reserve and self._write(body):
            return
        if not self._write_reserved(body):
            self._lost += 1

    def _write(self, body: bytes) -> bool:
        """Writes one frame, into a new segment when the current one is full. False: there is no space."""
        data = frame(self._seq + 1, body)
        segment = self._segment
        if segment is not None and not segment.reserved and segment.fits(data, self._settings.segment_bytes):
            if segment.write(data):
                self._account(data)
                return True
            if not segment.too_large:
                return False
        fresh = self._open_next([data])
        if fresh is None:
            return False
        self._replace(fresh)
        self._account(data)
        return True

    def _write_reserved(self, body: bytes) -> bool:
        data = frame(self._seq + 1, body)
        if self._segment is None or not self._segment.reserved:
            reserve = self._folder.take_reserve(data, self._settings.reserve_bytes)
            if reserve is None:
                return False
            self._replace(reserve)
        assert self._segment is not None
        if not self._segment.fits(data, self._settings.reserve_bytes) or not self._segment.write(data):
            return False
        self._account(data)
        return True

    def _account(self, data: bytes) -> None:
        self._seq += 1
        self._written += 1
        self._unsynced.append((self._seq, data))
        self._unsynced_bytes += len(data)
        while self._unsynced_bytes > _UNSYNCED_BYTES:
            self._unsynced_bytes -= len(self._unsynced.popleft()[1])

    def _open_next(self, frames: Iterable[bytes] = (), *, durable: bool = False) -> Segment | None:
        try:
            return self._folder.create(frames, durable=durable)
        except OSError:
            return None

    def _replace(self, fresh: Segment) -> None:
        if self._segment is not None:
            self._retired.append(self._segment)
        self._segment = fresh

    def _recover(self) -> None:
        self._degraded = False
        self._folder.reserve(self._settings.reserve_bytes)

    # ------------------------------------------------------------ syncing (its own thread)
    def _sync_forever(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(self._settings.fsync_interval_s)  # collect a group
            self._wake.clear()
            self._sync_once()
        self._sync_once()

    def _sync_once(self) -> None:
        with self._lock:
            target = self._seq
            retired, self._retired = self._retired, []
            newest = self._segment
            segments = [*retired, *([newest] if newest is not None else [])]
        if newest is not None and target > self._synced:
            newest.make_room(self._settings.segment_bytes)
        sound = 0  # in order: what follows a failed segment must not count as safe before it does
        if target > self._synced:
            while sound < len(segments) and segments[sound].sync():
                sound += 1
            with self._lock:
                if sound < len(segments):
                    # Segments that were begun meanwhile are written anew, too: a reader that found them behind the
                    # cut ones would take what is older for a second copy.
                    newer = [*self._retired, *([self._segment] if self._segment is not None else [])]
                    begun = [one for one in newer if one not in segments]
                    target = self._rewrite([*segments[sound:], *begun])
                    if target == self._synced:  # no luck yet: they stay in doubt, and in line
                        self._retired = [*retired[sound:], *self._retired]
                        retired = retired[:sound]
                self._forget_until(target)
                self._release_waiters()
        for segment in retired:
            segment.close()

    def _rewrite(self, failed: list[Segment]) -> int:
        """Writes everything unsynced into a new segment. → the seq that is now on stable storage, but for those older
        ones of which no copy was kept: they are in doubt, and so told."""
        first = self._unsynced[0][0] if self._unsynced else self._seq + 1
        fresh = self._open_next((data for _, data in self._unsynced), durable=True)
        sound = fresh is not None and fresh.sync()
        if fresh is not None:  # in doubt or not: a reader that saw it holds those before it for finished
            self._replace(fresh)
        if not sound:
            self._degraded = True
            self._wake.set()
            return self._synced
        uncopied = first - self._synced - 1
        if uncopied:  # what the failed segments hold is all there is of them
            self._give_up_on(uncopied)
        for segment in reversed(failed):  # newest first: a reader never meets a hole
            if not uncopied:
                segment.cut_unsynced()
            segment.close()
        self._retired = [one for one in self._retired if one not in failed]
        return self._seq

    def _give_up_on(self, count: int) -> None:
        """Tells those who wait that ``count`` records may or may not be on the disk."""
        self._in_doubt += count
        _log.error("%d records may be lost: the disk failed while more waited for it than is kept", count)
        for _, loop, future in self._waiters:
            _resolve(loop, future, errors.Unavailable(_IN_DOUBT, code="record_in_doubt"))
        self._waiters = []

    def _forget_until(self, seq: int) -> None:
        self._synced = max(self._synced, seq)
        while self._unsynced and self._unsynced[0][0] <= seq:
            self._unsynced_bytes -= len(self._unsynced.popleft()[1])

    def _release_waiters(self) -> None:
        waiting = []
        for target, loop, future in self._waiters:
            if target <= self._synced:
                _resolve(loop, future)
            else:
                waiting.append((target, loop, future))
        self._waiters = waiting


def _resolve(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[None], problem: Exception | None = None
) -> None:
    def finish() -> None:
        if future.done():
            return
        if problem is None:
            future.set_result(None)
        else:
            future.set_exception(problem)

    if not loop.is_closed():
        loop.call_soon_threadsafe(finish)


def _without_text(record: SpoolRecord) -> SpoolRecord:
    """The same record without what clients or models wrote; the record itself when it has no such text."""
    if isinstance(record, CallRecord) and record.text is not None:
        return msgspec.structs.replace(record, text=None)
    if isinstance(record, PairRecord) and (record.teacher_text or record.student_text):
        return msgspec.structs.replace(record, teacher_text="", student_text="")
    if isinstance(record, VoteRecord):
        return msgspec.structs.replace(record, asked="", label="", votes=0)
    if isinstance(record, ClientStateRecord):
        return msgspec.structs.replace(record, sealed=b"")
    if isinstance(record, IncidentRecord) and record.sample:
        return msgspec.structs.replace(record, sample="")
    return record
