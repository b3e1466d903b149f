"""Labelled rows from a JSONL file, and their order as traffic."""

from __future__ import annotations

import gzip
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType


class Row(Struct, frozen=True):
    """What a client asks and what the simulated teacher answers, verbatim."""

    text: str
    answer: str
    calls: tuple[tuple[str, str], ...] = ()
    """(tool, arguments as text) of each tool call, in the place of an answer in words."""


class _Call(Struct):
    name: str
    arguments: dict[str, Any]


class _Line(Struct):
    text: str
    label: str | UnsetType = UNSET
    answer: Any = UNSET
    calls: list[_Call] | UnsetType = UNSET


class BadDataset(Exception):
    """The file is not a labelled set; the text says where and why."""


def read(path: Path) -> list[Row]:
    """The rows of a ``.jsonl`` or ``.jsonl.gz`` file: ``text`` and ``label``, or ``text`` and ``answer`` (any JSON
    value; written compactly when it is not a string), or ``text`` and ``calls`` (tool calls). Raises BadDataset."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as problem:
        raise BadDataset(f"{path} cannot be read: {problem}") from None
    rows: list[Row] = []
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            one = msgspec.json.decode(line, type=_Line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
            raise BadDataset(f"{path}, line {number}: {problem}") from None
        if one.calls is not UNSET:
            rows.append(Row(one.text, "", tuple((call.name, _written(call.arguments)) for call in one.calls)))
            continue
        value = one.answer if one.label is UNSET else one.label
        if value is UNSET or not one.text.strip():
            raise BadDataset(f"{path}, line {number}: give text and label, or text and answer")
        rows.append(Row(one.text, value if isinstance(value, str) else _written(value)))
    if not rows:
        raise BadDataset(f"{path} has no rows")
    return rows


def tools_in(path: Path) -> list[dict[str, Any]]:
    """The tools of a JSON file, in OpenAI's shape. Raises BadDataset."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise BadDataset(f"{path} holds no tools: {problem}") from None


def _written(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def as_traffic(rows: Sequence[Row], seed: int, limit: int | None) -> list[Row]:
    """The rows in the order they are sent: shuffled, since files are often sorted by label."""
    order = list(rows)
    random.Random(f"traffic/{seed}").shuffle(order)
    return order[:limit]
