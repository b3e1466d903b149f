"""Erasing rows of datasets: text goes, a tombstone stays, and the version still is what its name says."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from trainer.datasets.card import answers_of, readable
from trainer.datasets.versions import CARD, READABLE, ROWS, DatasetRefused, Erased, lines_of, read

Fates = Mapping[str, Erased]
"""By the SHA-256 of a call's id: why its text must go."""


class Buried(Struct, frozen=True):
    """What is gone of a dataset. ``changed``: whether this time."""

    rows: int
    requested: int
    card: dict[str, Any]
    changed: bool


class _Place(Struct, frozen=True):
    call: str


def bury(folder: Path, fates: Fates) -> Buried | None:
    """Erases the rows whose calls are named in ``fates``. None when there are none of them, or when the folder holds
    no dataset. Each file is replaced whole; killed in between, the next time goes on. Raises OSError."""
    if not _concerned(folder, fates):
        return None
    try:
        version = read(folder.name, folder.parent)
    except DatasetRefused:
        return None
    rows = [row.tombstone(fates[row.call]) if row.call in fates else row for row in version.rows]
    gone = Counter(row.erased for row in rows if row.erased is not None)
    left = (row.answer for row in rows if row.part == "train" and row.erased is None and row.weight > 0)
    erased = {"request": gone["request"], "retention": gone["retention"]}
    card = version.card | {"answers": answers_of(left), "erased": erased}
    changed = card != version.card or any(one is not two for one, two in zip(rows, version.rows, strict=True))
    if changed:
        _replace(folder / ROWS, b"".join(lines_of(rows)))
        _replace(folder / CARD, msgspec.json.encode(card))
        _replace(folder / READABLE, readable(card, folder.name).encode())
    return Buried(gone.total(), gone["request"], card, changed)


def _concerned(folder: Path, fates: Fates) -> bool:
    decode = msgspec.json.Decoder(_Place).decode
    try:
        with (folder / ROWS).open("rb") as rows:
            return any(decode(line).call in fates for line in rows)
    except (FileNotFoundError, msgspec.MsgspecError):
        return False


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
