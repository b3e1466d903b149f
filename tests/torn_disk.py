"""One folder of a disk that loses power: what of its files and names survives, drawn at random within the rules.

The rules are those that every file system keeps, and no more. What was written to a file since its last good ``fsync``
may be there or not, sector by sector, in any order and at any of its lengths; what was done to names since the folder's
last ``fsync`` may have happened or not, each by itself. After an ``fsync`` that failed, later ones prove nothing of the
file (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). The calls of ``os`` go through
it for as long as the patch lasts; the files are real, so whoever reads them meanwhile sees what was written last.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SECTORS = (1, 512, 4096)
CALLS = (
    "open",
    "write",
    "pwrite",
    "ftruncate",
    "fsync",
    "rename",
    "replace",
    "link",
    "unlink",
    "mkdir",
    "posix_fallocate",
)


def mixed(states: list[bytes], rng: random.Random) -> bytes:
    """One of their lengths, each sector as in one of them."""
    if len(states) == 1 or len(set(states)) == 1:
        return states[0]
    sector, size = rng.choice(SECTORS), len(rng.choice(states))
    parts = [rng.choice(states)[at : at + sector].ljust(sector, b"\0") for at in range(0, size, sector)]
    return b"".join(parts)[:size]


class _File:
    """``states``: what it may hold after a cut, the first one safe, the last one what was written last."""

    def __init__(self) -> None:
        self.states = [b""]
        self.doubted = False

    def write(self, data: bytes, at: int) -> None:
        now = self.states[-1].ljust(at, b"\0")
        self.states.append(now[:at] + data + now[at + len(data) :])

    def resize(self, size: int) -> None:
        self.states.append(self.states[-1][:size].ljust(size, b"\0"))

    def synced(self) -> None:
        if not self.doubted:
            self.states = self.states[-1:]

    def survives(self, rng: random.Random) -> bytes:
        return mixed([self.states[0], self.states[-1]] if rng.random() < 0.5 else self.states, rng)


class TornDisk:
    """``before`` is called before each call that changes something, with the call and the file's name: the power may
    be cut there, and it may raise OSError."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self.before: Callable[[str, str], None] = lambda call, name: None
        self._names: dict[str, _File] = {}
        self._safe: dict[str, _File] = {}
        self._changes: list[tuple[str, str, _File | None]] = []
        for call in CALLS:
            patch.setattr(os, call, self._watched(call, getattr(os, call)))

    def survives(self, rng: random.Random) -> dict[str, bytes]:
        """The folder as it may be after a power cut at this moment."""
        names, kept = dict(self._safe), rng.choice((0.0, 0.5, 0.9, 1.0))
        for old, new, file in self._changes:
            if rng.random() < kept:
                names.pop(old, None)
                if file is not None:
                    names[new] = file
        return {name: file.survives(rng) for name, file in names.items()}

    def safe(self) -> dict[str, bytes]:
        """What is there whatever happens."""
        return {name: file.states[0] for name, file in self._safe.items()}

    def _watched(self, call: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def watched(target: Any, *rest: Any, **more: Any) -> Any:
            name = self._name_of(target)
            if name is None or (call == "open" and (name in self._names or not rest[0] & os.O_CREAT)):
                return real(target, *rest, **more)
            self.before(call, name)
            place = os.lseek(target, 0, os.SEEK_CUR) if call == "write" else 0
            try:
                answer = real(target, *rest, **more)
            except OSError:
                if call == "fsync" and name in self._names:
                    self._names[name].doubted = True
                raise
            self._note(call, name, (*rest, place) if call == "write" else rest)
            return answer

        return watched

    def _name_of(self, target: Any) -> str | None:
        """A file's name in the folder; "" for the folder itself, None for what lies elsewhere."""
        path = Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else Path(target)
        if path == self._folder:
            return "" if isinstance(target, int) else None
        inside = path.parent == self._folder and not path.name.endswith(" (deleted)")
        return path.name if inside else None

    def _note(self, call: str, name: str, rest: tuple[Any, ...]) -> None:
        if call in ("open", "mkdir"):
            self._change("", name, _File())
        elif call in ("rename", "replace"):
            self._change(name, Path(rest[0]).name, self._names.pop(name))
        elif call == "link":
            self._change("", Path(rest[0]).name, self._names[name])
        elif call == "unlink":
            self._names.pop(name)
            self._changes.append((name, "", None))
        elif not name:
            self._safe, self._changes = dict(self._names), []
        elif call in ("write", "pwrite"):
            self._names[name].write(*rest)
        elif call == "fsync":
            self._names[name].synced()
        else:
            self._names[name].resize(sum(rest))

    def _change(self, old: str, new: str, file: _File) -> None:
        self._names[new] = file
        self._changes.append((old, new, file))
