"""What becomes of a project's files when a person is erased: lines of JSON that name the person go, other lines stay.

Whose a line is: ``user`` or ``safety_identifier`` in it or in its ``body``, as in a batch's input; what a batch
answered to such a line goes by its ``custom_id``. A file of another form cannot be told and stays. A file that a batch
is working on waits for the batch's end.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError

from gateway.protocol.fine_tuning import KIND
from gateway.storage.commands import Refused, WriterAway
from gateway.storage.data_values import OPEN_BATCH, Batch, StoredFile
from gateway.storage.erasure_values import DatasetErasure, Erasure, who_of
from gateway.storage.home import Home
from gateway.storage.protocols import Reader, Writer
from gateway.storage.settled import settle, write_whole
from trainer.trimming import DRAFT, Trimming

_EVERY_S = 5.0
_LONGEST_LINE = 16 * 1024 * 1024
_MOST = 10_000
_NAMES = ("user", "safety_identifier")
_decode = msgspec.json.decode
_log = logging.getLogger("understudy.trainer")
IsThem = Callable[[str], bool]


class FileForgetting:
    """One file at a time, so that the trainer's heartbeat never waits long. Everything may be repeated."""

    def __init__(self, home: Home, reader: Reader, writer: Writer) -> None:
        self._files, self._mark, self._evals = home.files, home.files / "erased-until", home.evals_of
        self._reader, self._trimming = reader, Trimming(home, reader, writer)
        self._resumed = False
        self._done = _stored(self._mark)
        self._todo: list[Callable[[], bool]] = []
        self._last: int | None = None
        self._look_at = 0.0

    def tick(self, now: float) -> None:
        """Raises WriterAway, Refused, SQLAlchemyError, OSError; the next tick goes on."""
        if not self._resumed:
            self._trimming.resume()
            self._resumed = True
        elif self._todo:
            if not self._todo[-1]():  # a batch is at work: look at everything again later
                self._todo, self._last = [], None
                return
            self._todo.pop()
        elif self._last is not None:
            self._files.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self._mark, str(self._last).encode())
            self._done, self._last = self._last, None
        elif now >= self._look_at:
            self._look_at = now + _EVERY_S
            self._look()

    def _look(self) -> None:
        erasures = self._reader.erasures(after=self._done, limit=1)
        if erasures:
            self._last = erasures[0].id
            self._todo = self._steps(erasures[0], self._reader.salt())

    def _steps(self, erasure: Erasure, salt: str) -> list[Callable[[], bool]]:
        """Done from the end: first what batches answered, while their input still says whose lines they were."""

        def is_them(name: str) -> bool:
            return who_of(salt, erasure.project, name) == erasure.who

        project = erasure.project
        files = {
            one.id: one
            for one in self._reader.files(project, purpose=None, after=None, limit=_MOST, descending=False)
        }
        batches = self._reader.batches(project, after=None, limit=_MOST)
        busy = {one.input_file_id for one in batches if one.status in OPEN_BATCH}
        old = [one for one in files.values() if one.created_at <= erasure.at]
        answered = [one for one in batches if one.created_at <= erasure.at]
        return [
            *(lambda one=one: one.id not in busy and self._trim(one, is_them, frozenset()) for one in old),
            *(lambda one=one: self._answers(one, files, is_them) for one in answered),
            *(lambda one=one: self._evaluated(one, is_them) for one in self._eval_lines(erasure)),
        ]

    def _eval_lines(self, erasure: Erasure) -> list[Path]:
        """The lines of eval runs that were ordered before."""
        found = self._evals(erasure.project).glob("eval_*/evalrun_*/items.jsonl")
        return [path for path in found if _ordered(path.parent / "run.json") <= erasure.at]

    def _evaluated(self, path: Path, is_them: IsThem) -> bool:
        if (path.parent / "open").exists():  # whoever is at work on it writes there
            return False
        found = kept_of(path, is_them, frozenset())
        if found is not None:
            settle(found[0], path)
        return True

    def _answers(self, batch: Batch, files: dict[str, StoredFile], is_them: IsThem) -> bool:
        if batch.status in OPEN_BATCH:
            return not asked_by(self._files / batch.input_file_id, is_them)
        theirs = asked_by(self._files / batch.input_file_id, is_them)
        for name in (batch.output_file_id, batch.error_file_id):
            if theirs and name in files:
                self._trim(files[name], is_them, theirs)
        return True

    def _trim(self, file: StoredFile, is_them: IsThem, answered: Collection[str]) -> bool:
        path = self._files / file.id
        found = kept_of(path, is_them, answered)
        if found is None:
            return True
        draft, lines = found
        self._resumed = False  # unless it is carried out to its end
        self._trimming.trim(file, draft, lines, self._learnt(file, lines))
        self._resumed = True
        return True

    def _learnt(self, file: StoredFile, lines: int) -> list[DatasetErasure]:
        """The models that jobs trained from the file have learnt from lines that are gone."""
        known, found = self._reader.dataset_erasures(), []
        for run in self._reader.project_runs(file.project, KIND, limit=_MOST):
            digest = run.result.get("dataset")
            if run.params.get("training_file") != file.id or not isinstance(digest, str):
                continue
            before = known.get(digest)
            count = lines + (before.requested if before else 0)
            found.append(DatasetErasure(digest, max(count, before.rows if before else 0), count, run.created_at))
        return found


class _Line(Struct, frozen=True):
    custom_id: Any = None
    user: Any = None
    safety_identifier: Any = None
    body: Any = None

    def names(self) -> set[str]:
        said = [self.user, self.safety_identifier]
        if isinstance(self.body, dict):
            said += [self.body.get(name) for name in _NAMES]
        return {one for one in said if isinstance(one, str)}


_line = msgspec.json.Decoder(_Line).decode


def asked_by(path: Path, is_them: IsThem) -> frozenset[str]:
    """The ``custom_id`` of each line of a batch's input that names them; none for a file that is gone."""
    try:
        with path.open("rb") as source:
            return frozenset(
                str(line.custom_id) for text in iter(lambda: source.readline(_LONGEST_LINE), b"")
                if (line := _read(text)) is not None and any(map(is_them, line.names()))
            )  # fmt: skip
    except FileNotFoundError:
        return frozenset()


def kept_of(path: Path, is_them: IsThem, answered: Collection[str]) -> tuple[Path, int] | None:
    """(a draft of the file without their lines, how many those are); None when it holds none. Raises OSError."""
    draft, gone = path.with_suffix(DRAFT), 0
    try:
        with path.open("rb") as source, draft.open("wb") as target:
            for text in iter(lambda: source.readline(_LONGEST_LINE), b""):
                line = _read(text)
                theirs = line is not None and (
                    any(map(is_them, line.names())) or (line.custom_id is not None and line.custom_id in answered)
                )
                gone += theirs
                if not theirs:
                    target.write(text)
            target.flush()
            os.fsync(target.fileno())
    except FileNotFoundError:
        draft.unlink(missing_ok=True)
        return None
    if not gone:
        draft.unlink()
        return None
    return draft, gone


def _read(text: bytes) -> _Line | None:
    """None for what is no JSON object, such as a piece of a line that is too long for one."""
    try:
        return _line(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class _Ordered(Struct, frozen=True):
    created_at: float


def _ordered(path: Path) -> float:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Ordered).created_at
    except FileNotFoundError:  # it is being deleted
        return float("inf")


def _stored(mark: Path) -> int:
    try:
        return int(mark.read_bytes())
    except (FileNotFoundError, ValueError):
        return 0


def attempt(forgetting: FileForgetting, now: float) -> None:
    """A tick whose failures are told and tried again."""
    try:
        forgetting.tick(now)
    except (WriterAway, SQLAlchemyError, OSError) as problem:
        _log.warning("erasing in files waits (%s); trying again", type(problem).__name__)
    except Refused as problem:
        _log.warning("%s", problem)
