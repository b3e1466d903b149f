"""Evals as files, readable by their owner alone, beside what clients upload: ``evals/<project>/<eval>/eval.json``, and
for each run a folder with ``run.json``, the rows it works on, and a line for each that is done.

A run belongs to the process that holds its lock; when that process dies the lock is free, and another goes on where the
lines end. What was written is not asked again.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from gateway.api.evals.shapes import Eval, EvalRun
from gateway.storage.home import Home
from gateway.storage.settled import sync_folder, write_whole
from gateway.storage.taken import taken as held
from gateway.storage.taken import written_at
from gateway.storage.tombstones import Place, Tombstones

_EVAL, _RUN = re.compile(r"eval_[0-9a-f]{32}"), re.compile(r"evalrun_[0-9a-f]{32}")
OPEN, CANCELED, ROWS, LINES, LOCK = "open", "canceled", "rows.jsonl", "items.jsonl", "lock"
T = TypeVar("T")


class Item(Struct, frozen=True):
    """A row that is done. ``user``: whose row it is, as far as it says; ``shown``: the output item."""

    number: int
    status: str
    user: str | None
    shown: dict[str, Any]


_item = msgspec.json.Decoder(Item).decode


class EvalStore:
    """Blocking."""

    def __init__(self, home: Home) -> None:
        self._root, self._project, self._gone = home.evals, home.evals_of, Tombstones(home)

    def folder(self, project: str, eval_id: str, run_id: str = "") -> Path:
        """Raises KeyError for texts that are no ids of ours."""
        if not _EVAL.fullmatch(eval_id) or (run_id and not _RUN.fullmatch(run_id)):
            raise KeyError(eval_id)
        found = self._project(project) / eval_id
        return found / run_id if run_id else found

    def put_eval(self, one: Eval) -> None:
        write_whole(self.folder(one.project, one.id) / "eval.json", msgspec.json.encode(one))

    def change_eval(self, one: Eval) -> None:
        """Raises KeyError when it was deleted meanwhile."""
        try:
            write_whole(
                self.folder(one.project, one.id) / "eval.json", msgspec.json.encode(one), folders=False
            )
        except FileNotFoundError:
            raise KeyError(one.id) from None

    def eval(self, project: str, eval_id: str) -> Eval:
        """Raises KeyError."""
        return _read(self.folder(project, eval_id) / "eval.json", Eval)

    def evals(self, project: str) -> list[Eval]:
        """Oldest first."""
        found = []
        for path in self._project(project).glob("eval_*/eval.json"):
            with suppress(KeyError):
                found.append(_read(path, Eval))
        return sorted(found, key=lambda one: (one.created_at, one.id))

    def delete(self, project: str, eval_id: str, run_id: str = "") -> None:
        """Raises KeyError. What is at work there ends when it finds its folder gone."""
        folder = self.folder(project, eval_id, run_id)
        if not folder.is_dir():
            raise KeyError(eval_id)
        one: Eval | EvalRun = self.run(project, eval_id, run_id) if run_id else self.eval(project, eval_id)
        self._gone.bury(project, one.id, one.created_at)
        gone = folder.with_name(f".gone-{secrets.token_hex(8)}")
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def stood(self, project: str, name: str) -> Place | None:
        """Where an eval or a run stood in its list before it was deleted."""
        return self._gone.place(project, name)

    # ------------------------------------------------------------ runs
    def add_run(self, one: EvalRun) -> None:
        """Raises KeyError when the eval is gone."""
        self.eval(one.project, one.eval_id)
        folder = self.folder(one.project, one.eval_id, one.id)
        try:
            folder.mkdir(mode=0o700)
            sync_folder(folder.parent)
            self.put_run(one)
            (folder / OPEN).touch()
        except FileNotFoundError:
            raise KeyError(one.eval_id) from None

    def put_run(self, one: EvalRun) -> None:
        folder = self.folder(one.project, one.eval_id, one.id)
        write_whole(folder / "run.json", msgspec.json.encode(one), folders=False)

    def run(self, project: str, eval_id: str, run_id: str) -> EvalRun:
        """As it stands. Raises KeyError."""
        folder = self.folder(project, eval_id, run_id)
        return _as_it_stands(_read(folder / "run.json", EvalRun), folder)

    def runs(self, project: str, eval_id: str) -> list[EvalRun]:
        """Oldest first."""
        found = []
        for path in self.folder(project, eval_id).glob("evalrun_*/run.json"):
            with suppress(KeyError):
                found.append(_as_it_stands(_read(path, EvalRun), path.parent))
        return sorted(found, key=lambda one: (one.created_at, one.id))

    def cancel(self, one: EvalRun) -> None:
        """Whoever is at work on it hears of it within a second."""
        with suppress(FileNotFoundError):
            (self.folder(one.project, one.eval_id, one.id) / CANCELED).touch()

    def waiting(self) -> list[Path]:
        """Folders of runs that have not ended, oldest first."""
        return [path.parent for path in sorted(self._root.glob(f"*/*/*/{OPEN}"), key=written_at)]

    @staticmethod
    def owner(folder: Path) -> str:
        """What stands for the project of a run, by its folder."""
        return folder.parent.parent.name

    def items(self, project: str, eval_id: str, run_id: str) -> list[Item]:
        """By number. Raises KeyError."""
        folder = self.folder(project, eval_id, run_id)
        self.run(project, eval_id, run_id)
        return sorted(lines_of(folder / LINES), key=lambda one: one.number)


def taken(folder: Path) -> Callable[[], None] | None:
    """What gives a run back; None when somebody is at work on it."""
    return held(folder / LOCK, create=True)


def lines_of(path: Path) -> Iterator[Item]:
    """What is done. A line that is torn is not."""
    with suppress(FileNotFoundError), path.open("rb") as source:
        for text in source:
            with suppress(msgspec.MsgspecError, UnicodeDecodeError):
                yield _item(text)


def _as_it_stands(one: EvalRun, folder: Path) -> EvalRun:
    stopped = one.status in ("queued", "in_progress") and (folder / CANCELED).exists()
    return msgspec.structs.replace(one, status="canceled") if stopped else one


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        raise KeyError(path.parent.name) from None
