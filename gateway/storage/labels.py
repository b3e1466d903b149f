"""What people said of pairs that a judge had compared: one JSONL file for each student in the data directory.

A line is ``{"call": id, "human": preference}``; 1 means the student's answer was the better one, 0 the teacher's, ½
neither. Of several lines about a call the last counts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway.storage.values import Pair

_NAME = re.compile(r"[A-Za-z0-9._-]+\Z")


class Label(Struct, frozen=True):
    call: str
    human: float


class Sheet(Struct, frozen=True):
    """A pair as a person sees it: which answer is the student's does not show. ``better``: 1, 2 or 0; null: unsaid."""

    call: str
    request: str
    answer_1: str
    answer_2: str
    better: int | None = None


def file_of(folder: Path, student: str) -> Path:
    """Raises ValueError for a name that is no student's."""
    if not _NAME.match(student) or student.startswith("."):
        raise ValueError(f"{student[:80]!r} is not the name of a student")
    return folder / f"{student}.jsonl"


def read(folder: Path, student: str) -> dict[str, float]:
    """By call; {} when nobody labelled any. A line that cannot be read, such as a torn last one, says nothing."""
    try:
        lines = file_of(folder, student).read_bytes().splitlines()
    except (FileNotFoundError, ValueError):
        return {}
    found: dict[str, float] = {}
    for line in lines:
        try:
            label = msgspec.json.decode(line, type=Label)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if label.human in (0.0, 0.5, 1.0):
            found[label.call] = label.human
    return found


def add(folder: Path, student: str, labels: Mapping[str, float]) -> None:
    """Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = b"".join(msgspec.json.encode(Label(call, human)) + b"\n" for call, human in labels.items())
    with file_of(folder, student).open("ab") as file:
        file.write(lines)


# ---------------------------------------------------------------- a random, blind sample
def drawn(pairs: Iterable[Pair], known: Mapping[str, float], count: int) -> list[Pair]:
    """``count`` of the judged pairs that nobody labelled, chosen by a hash of the call alone."""
    left = {
        pair.call_id: pair
        for pair in pairs
        if pair.answered and "judge" in pair.scores and pair.call_id not in known and pair.student_text
    }
    return sorted(left.values(), key=lambda pair: _hash("draw", pair.call_id))[:count]


def sheet(pair: Pair, request: str) -> Sheet:
    first, second = pair.student_text, pair.teacher_text
    if not student_first(pair.call_id):
        first, second = second, first
    return Sheet(pair.call_id, request, first, second)


def student_first(call_id: str) -> bool:
    """Which side of its sheet the student's answer stands on."""
    return _hash("side", call_id)[0] % 2 == 0


def human_of(filled: Sheet) -> float:
    """The preference that a filled sheet means. Raises ValueError for one that says something else than 0, 1 or 2."""
    if filled.better == 0:
        return 0.5
    if filled.better not in (1, 2):
        raise ValueError(f"'better' must be 1, 2 or 0 (neither), not {filled.better}")
    return float((filled.better == 1) is student_first(filled.call))


def _hash(purpose: str, call_id: str) -> bytes:
    return hashlib.sha256(f"{purpose}\0{call_id}".encode()).digest()
