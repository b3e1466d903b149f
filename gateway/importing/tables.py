"""A file of rows, whatever wrote it: its encoding, its form (JSON lines, a JSON list, or separated values) and its rows
with their line numbers. Pure but for reading the file.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

import msgspec
from msgspec import Struct

LONGEST_LINE = 4 << 20
_LOOK = 256 * 1024
_SEPARATORS = (",", ";", "\t", "|")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

Form = Literal["jsonl", "json", "csv"]


class NotReadable(Exception):
    """The file as a whole cannot be read; the text says why, for a person."""


class Layout(Struct, frozen=True):
    """How a file is written. ``separator``: of a ``csv``, else ""; ``columns``: the names in its first line."""

    form: Form
    encoding: str
    separator: str = ""
    columns: tuple[str, ...] = ()


class Line(Struct, frozen=True):
    """One row. ``problem`` says why there is none."""

    number: int
    row: dict[str, Any] | None
    problem: str = ""


def layout_of(path: Path) -> Layout:
    """Raises NotReadable, OSError."""
    with _opened(path) as file:
        try:
            head = file.read(_LOOK)
        except (gzip.BadGzipFile, EOFError):
            raise NotReadable("it is not what its name says: gzip cannot open it") from None
    encoding = _encoding(head)
    text = head.decode(encoding, errors="replace").lstrip("\ufeff")
    start = text.lstrip()
    if not start:
        raise NotReadable("it is empty")
    if "\0" in start:
        raise NotReadable("it holds binary data, not text")
    if start[0] == "{":
        return Layout("jsonl", encoding)
    if start[0] == "[":
        return Layout("json", encoding)
    first = start.splitlines()[0]
    separator = max(_SEPARATORS, key=first.count)
    columns = next(csv.reader(io.StringIO(start), delimiter=separator), [])
    if len(columns) < 2:
        raise NotReadable("it is neither JSON nor a table: its first line names no two columns")
    if len(set(columns)) < len(columns):
        raise NotReadable("two of its columns have the same name")
    return Layout("csv", encoding, separator, tuple(name.strip() for name in columns))


def lines_of(path: Path, layout: Layout) -> Iterator[Line]:
    """Every row, and what is wrong with those that are none. Raises NotReadable, OSError."""
    with _opened(path) as raw, io.TextIOWrapper(raw, layout.encoding, errors="replace", newline="") as text:
        if layout.form == "jsonl":
            yield from _json_lines(text)
        elif layout.form == "json":
            yield from _json_list(text)
        else:
            yield from _separated(text, layout)


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]


def _encoding(head: bytes) -> str:
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _json_lines(text: IO[str]) -> Iterator[Line]:
    for number, line in enumerate(text, 1):
        if line.strip():
            yield _json_line(number, line)


def _json_line(number: int, line: str) -> Line:
    if len(line) > LONGEST_LINE:
        return Line(number, None, f"it is longer than {LONGEST_LINE} characters")
    if "\ufffd" in line:
        return Line(number, None, "it holds characters that could not be read")
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Line(number, None, "it is not valid JSON")
    return Line(number, row) if isinstance(row, dict) else Line(number, None, "it is not a JSON object")


def _json_list(text: IO[str]) -> Iterator[Line]:
    """The numbers are the items' places, from one."""
    try:
        rows = msgspec.json.decode(text.read())
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise NotReadable("it begins as a JSON list and is not valid JSON") from None
    for number, row in enumerate(rows, 1):
        yield Line(number, row) if isinstance(row, dict) else Line(number, None, "it is not a JSON object")


def _separated(text: IO[str], layout: Layout) -> Iterator[Line]:
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader(text, delimiter=layout.separator, strict=True)
    width, number = len(layout.columns), 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            yield Line(reader.line_num, None, f"it is not a row of the table ({problem})")
            return
        start, number = number, reader.line_num + 1
        if start == 1 or not any(cells):
            continue
        if len(cells) != width:
            yield Line(start, None, f"it has {len(cells)} cells where the table has {width} columns")
        elif any("\ufffd" in cell for cell in cells):
            yield Line(start, None, "it holds characters that could not be read")
        else:
            yield Line(start, dict(zip(layout.columns, cells, strict=True)))
