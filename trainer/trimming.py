"""Lines of a file go, and what was made of the file with them, wherever the process dies meanwhile.

What is to follow is written down beside the file before its lines go, and carried out from there: by whoever began,
or by the next process that starts. Each step may be repeated.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway.storage.data_values import StoredFile, TrimFile
from gateway.storage.erasure_values import DatasetErasure, NoteErased
from gateway.storage.home import Home
from gateway.storage.protocols import Reader, Writer
from gateway.storage.settled import settle, write_whole
from gateway.storage.vector_stores import VectorStores

DRAFT, _PLAN = ".erasing", ".trimming"
_log = logging.getLogger("understudy.trainer")


class Plan(Struct, frozen=True):
    """``bytes``: of the file once its ``lines`` are gone; ``learnt``: what becomes of the datasets made of it."""

    project: str
    file_id: str
    lines: int
    bytes: int
    learnt: list[DatasetErasure]


class Trimming:
    """Blocking. Raises WriterAway, Refused, SQLAlchemyError, OSError."""

    def __init__(self, home: Home, reader: Reader, writer: Writer) -> None:
        self._files, self._vectors = home.files, VectorStores(home)
        self._reader, self._writer = reader, writer

    def trim(self, file: StoredFile, draft: Path, lines: int, learnt: list[DatasetErasure]) -> None:
        """Puts ``draft``, which is on the disk, in the place of the file, from which it lacks ``lines``."""
        plan = Plan(file.project, file.id, lines, draft.stat().st_size, learnt)
        write_whole(self._files / f"{file.id}{_PLAN}", msgspec.json.encode(plan))
        self._carry_out(plan)

    def resume(self) -> None:
        """Carries out what a process that died had begun; drafts that nothing was to follow go."""
        for path in sorted(self._files.glob(f"file-*{_PLAN}")):
            self._carry_out(msgspec.json.decode(path.read_bytes(), type=Plan))
        for path in self._files.glob(f"file-*{DRAFT}"):
            path.unlink(missing_ok=True)

    def _carry_out(self, plan: Plan) -> None:
        for one in plan.learnt:
            self._writer.execute(NoteErased(one, {}))
        path = self._files / plan.file_id
        draft = path.with_suffix(DRAFT)
        if not path.exists():  # somebody deleted it
            draft.unlink(missing_ok=True)
        elif draft.exists():
            settle(draft, path)
        self._vectors.again(plan.project, plan.file_id)
        known = self._reader.file(plan.project, plan.file_id)
        if known is not None and known.bytes != plan.bytes:
            self._writer.execute(TrimFile(plan.project, plan.file_id, plan.bytes, plan.lines))
            _log.info("file %s: %d lines are erased", plan.file_id, plan.lines)
        path.with_suffix(_PLAN).unlink(missing_ok=True)
