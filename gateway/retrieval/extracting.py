"""A program of its own: the text of a PDF or an Office document, on standard output in UTF-8.

Such files are hostile until shown otherwise, so nothing of the gateway is in this process: it imports nothing of ours,
holds no secret, and has bounds of memory, CPU time and text. ``gateway.retrieval.documents`` starts it and explains
how it ended.

    python extracting.py PATH MOST_CHARACTERS MEGABYTES SECONDS PAGES

A path of ``-`` stands for what comes in: what a request encloses is never written to a disk.
"""

from __future__ import annotations

import io
import logging
import os
import re
import resource
import sys
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

BROKEN, LOCKED, UNKNOWN, TOO_LARGE = 3, 4, 5, 6
"""What its status says: the file cannot be read; it needs a password; it is of no such kind; it unpacks to too much."""
_OFFICE = {"word/document.xml": "docx", "ppt/presentation.xml": "pptx", "xl/workbook.xml": "xlsx"}
_MOST_MEMBERS = 20_000
_HIGHEST_RATIO = 200
"""Compressed XML seldom shrinks to a fiftieth; bombs to a thousandth."""
_FREE = 1024 * 1024
"""Bytes that a member may unpack to whatever its ratio."""
_NOT_SAID = re.compile(
    r"(^|/)(docProps|customXml|glossary|theme|slideLayouts|slideMasters|notesMasters|handoutMasters)/"
    r"|(^|/)(worksheets|tables|pivotCache|pivotTables|externalLinks)/"
    r"|(^|/)(sharedStrings|styles|settings|fontTable|numbering)\.xml$"
)
"""Members of an Office document that say nothing to its reader, or what the values of cells say."""


class Ended(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def main(path: str, most: int, megabytes: int, seconds: int, pages: int) -> None:
    """Raises Ended, and whatever the libraries do."""
    _bound(megabytes, seconds)
    logging.disable(logging.CRITICAL)  # what a library thinks of a file is nobody's business
    left = most
    for piece in _pieces(_opened(path), megabytes, pages):
        text = piece[:left]
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
        left -= len(text)
        if left <= 0:
            raise Ended(TOO_LARGE)
    sys.stdout.flush()


def _bound(megabytes: int, seconds: int) -> None:
    for kind, value in (
        (resource.RLIMIT_AS, megabytes * 1024 * 1024),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (lower, hard))
    os.nice(10)


def _opened(path: str) -> BinaryIO:
    """It ends with the process."""
    if path == "-":
        return io.BytesIO(sys.stdin.buffer.read())
    return open(path, "rb")  # noqa: PTH123 - pathlib would be one more import


def _pieces(source: BinaryIO, megabytes: int, pages: int) -> Iterator[str]:
    head = source.read(1024)
    source.seek(0)
    if b"%PDF-" in head:
        return _pdf(source, pages)
    if b"PK\x03\x04" not in head:
        raise Ended(UNKNOWN)
    kind = _kind(source, megabytes)
    source.seek(0)
    return _with_the_rest({"docx": _docx, "pptx": _pptx, "xlsx": _xlsx}[kind](source), source)


def _kind(source: BinaryIO, megabytes: int) -> str:
    """What kind of document a zip file is, by what is in it. Its sizes are what its directory says; what lies meets
    the bound of memory."""
    with zipfile.ZipFile(source) as found:
        members = found.infolist()
    whole = sum(one.file_size for one in members)
    bombs = [one for one in members if one.file_size > _FREE + _HIGHEST_RATIO * one.compress_size]
    if len(members) > _MOST_MEMBERS or whole > megabytes * 1024 * 1024 // 4 or bombs:
        raise Ended(TOO_LARGE)
    if any(one.flag_bits & 1 for one in members):
        raise Ended(LOCKED)
    kind = next((_OFFICE[one.filename] for one in members if one.filename in _OFFICE), None)
    if kind is None:
        raise Ended(UNKNOWN)
    return kind


def _pdf(source: BinaryIO, pages: int) -> Iterator[str]:
    import pypdf

    reader = pypdf.PdfReader(source)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Ended(LOCKED)
    if len(reader.pages) > pages:
        raise Ended(TOO_LARGE)
    for page in reader.pages:
        yield page.extract_text() + "\n\n"
        for note in page.annotations or ():
            told = note.get_object()
            yield from (f"{told[name]}\n" for name in ("/Contents", "/V") if isinstance(told.get(name), str))


def _with_the_rest(pieces: Iterator[str], source: BinaryIO) -> Iterator[str]:
    """``pieces``, and after them what an Office document says where those do not look: headers, footers, footnotes,
    comments, text boxes, diagrams, controls, insertions. Whoever hides something there is read by others too."""
    from lxml import etree

    told = {""}
    for piece in pieces:
        for line in piece.splitlines():
            told.update(map(_key, (line, *line.split("\t"))))
        yield piece
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    with zipfile.ZipFile(source) as found:
        for name in found.namelist():
            if name.endswith(".xml") and not _NOT_SAID.search(name):
                for line in _lines(etree.fromstring(found.read(name), parser)):
                    if _key(line) not in told:
                        told.add(_key(line))
                        yield line + "\n"


def _key(line: str) -> str:
    return "".join(line.split())


def _lines(root: Any) -> Iterator[str]:
    """The paragraphs of one member, and texts that stand in none."""
    lines: dict[Any, list[str]] = {}
    for said in root.iter("{*}t", "{*}text"):
        lines.setdefault(next(said.iterancestors("{*}p"), said), []).append(said.text or "")
    return ("".join(line) for line in lines.values())


def _docx(source: BinaryIO) -> Iterator[str]:
    """Paragraphs and tables in their order."""
    import docx
    from docx.table import Table

    for block in docx.Document(source).iter_inner_content():
        if isinstance(block, Table):
            yield from _rows([cell.text for cell in _each_once(row.cells)] for row in block.rows)
        else:
            yield block.text + "\n"


def _each_once(cells: Iterable[Any]) -> Iterator[Any]:
    """A cell that was merged stands in a row as often as it is wide."""
    last: Any = None
    for cell in cells:
        if cell._tc is not last:
            yield cell
        last = cell._tc


def _pptx(source: BinaryIO) -> Iterator[str]:
    import pptx

    for number, slide in enumerate(pptx.Presentation(source).slides, 1):
        yield f"Slide {number}\n"
        for shape in _shapes(slide.shapes):
            if shape.has_text_frame:
                yield shape.text_frame.text + "\n"
            elif getattr(shape, "has_table", False) and shape.has_table:
                yield from _rows([cell.text for cell in row.cells] for row in shape.table.rows)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            yield slide.notes_slide.notes_text_frame.text + "\n"
        yield "\n"


def _shapes(shapes: Any) -> Iterator[Any]:
    """Those in groups too, of groups in groups."""
    waiting = list(shapes)
    while waiting:
        shape = waiting.pop(0)
        if hasattr(shape, "shapes"):
            waiting[:0] = list(shape.shapes)
        else:
            yield shape


def _xlsx(source: BinaryIO) -> Iterator[str]:
    """Values as they were last computed, a line for each row that has any."""
    import openpyxl

    book = openpyxl.load_workbook(source, read_only=True, data_only=True, keep_links=False)
    for sheet in book.worksheets:
        yield f"{sheet.title}\n"
        rows = ([str(value) for value in row if value is not None] for row in sheet.iter_rows(values_only=True))
        yield from _rows(row for row in rows if row)
        yield "\n"


def _rows(rows: Iterable[list[str]]) -> Iterator[str]:
    for row in rows:
        yield "\t".join(row) + "\n"


if __name__ == "__main__":
    try:
        main(sys.argv[1], *map(int, sys.argv[2:]))
        sys.stdout.flush()
        status = 0
    except Ended as end:
        status = end.status
    except MemoryError:
        status = TOO_LARGE
    except BaseException:  # whatever the file made the libraries do, its owner is told that it cannot be read
        status = BROKEN
    os._exit(status)
