"""Labelled texts of any JSONL: attacks, personal data with its places, toxicity, answers to a context."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def rows_of(place: Path) -> Iterator[dict[str, Any]]:
    """Every row with a ``text``, of a file or of all ``*.jsonl`` and ``*.jsonl.gz`` in a folder. Raises ValueError for
    a line that is no JSON object."""
    files = [place] if place.is_file() else sorted([*place.glob("*.jsonl"), *place.glob("*.jsonl.gz")])
    for file in files:
        text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        for number, line in enumerate(text.decode().split("\n"), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                raise ValueError(f"{file.name}:{number} is not JSON.") from None
            if isinstance(row, dict) and isinstance(row.get("text"), str):
                yield row


def halved(rows: Iterable[dict[str, Any]], seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """To fit on, and to measure on: as ``understudy guards train --half`` does it, texts of a group on one side."""
    sides: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for row in rows:
        kin = str(row.get("group") or row["text"])
        sides[hashlib.sha256((f"{seed}:{kin}" if seed else kin).encode()).digest()[0] % 2].append(row)
    return sides


def has_attack(row: dict[str, Any]) -> bool:
    return row.get("attack") in (0, 1)


def has_toxic(row: dict[str, Any]) -> bool:
    return row.get("toxic") in (0, 1)


def has_context(row: dict[str, Any]) -> bool:
    return row.get("grounded") in (0, 1) and isinstance(row.get("context"), str)


def has_spans(row: dict[str, Any]) -> bool:
    spans = row.get("spans")
    return isinstance(spans, list) and all(
        isinstance(one, dict) and isinstance(one.get("type"), str) and isinstance(one.get("value"), str)
        for one in spans
    )
