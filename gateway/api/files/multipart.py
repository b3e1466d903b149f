"""multipart/form-data, read as it arrives: text fields into memory, file parts into a sink."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import multipart
from litestar.types import Receive

from gateway import errors
from gateway.api.http import body_pieces
from gateway.protocol.body import check_encoding

MOST_PARTS = 64
_LONGEST_HEADER = 4096
_MOST_HEADERS = 16
_LONGEST_TEXT = 1024 * 1024


class Sink(Protocol):
    """Where file parts go. ``begin`` opens one; ``flush`` may wait for the disk."""

    def begin(self, part: multipart.MultipartSegment) -> None: ...
    def write(self, piece: bytes) -> None: ...
    async def flush(self) -> None: ...


async def read_form(
    headers: Mapping[str, str], receive: Receive, sink: Sink, *, limit: int, idle: float
) -> list[tuple[str, str]]:
    """The text fields in their order. Raises BadRequest for a form that cannot be read, TooLarge beyond
    ``limit`` bytes, RequestTimeout, ClientGone, and what the sink raises."""
    check_encoding(headers.get("content-encoding", ""))
    reader = _Reader(headers, sink)
    announced = headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise too_large(limit)
    size = 0
    async for piece in body_pieces(receive, idle):
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        reader.feed(piece)
        await sink.flush()
    reader.feed(b"")
    return reader.fields


def too_large(limit: int) -> errors.TooLarge:
    return errors.TooLarge(
        f"The upload is larger than {limit} bytes, the most that may be sent here.",
        headers={"connection": "close"},
    )


class _Reader:
    def __init__(self, headers: Mapping[str, str], sink: Sink) -> None:
        kind, options = multipart.parse_options_header(headers.get("content-type", ""))
        boundary = options.get("boundary", "")
        if kind.lower() != "multipart/form-data" or not 0 < len(boundary) <= 200:
            raise errors.BadRequest(
                "This endpoint takes multipart/form-data with a boundary in its content-type.",
                code="invalid_content_type",
            )
        self.fields: list[tuple[str, str]] = []
        self._sink = sink
        self._name: str | None = None
        self._text: list[bytes] = []
        self._texts = 0
        try:
            self._parser = multipart.PushMultipartParser(
                boundary, max_header_size=_LONGEST_HEADER, max_header_count=_MOST_HEADERS,
                max_segment_count=MOST_PARTS,
            )  # fmt: skip
        except multipart.MultipartError:
            raise _malformed("its boundary cannot be used") from None

    def feed(self, piece: bytes) -> None:
        try:
            for event in self._parser.parse(piece):
                if isinstance(event, multipart.MultipartSegment):
                    self._begin(event)
                elif event is None:
                    self._end()
                else:
                    self._data(bytes(event))
        except multipart.ParserLimitReached:
            raise _malformed(
                f"it has more than {MOST_PARTS} parts, or part headers that are too long"
            ) from None
        except (multipart.MultipartError, UnicodeDecodeError):
            raise _malformed("it does not follow the format, or ends too early") from None

    def _begin(self, part: multipart.MultipartSegment) -> None:
        if part.filename is None:
            self._name, self._text = part.name or "", []
        else:
            self._name = None
            self._sink.begin(part)

    def _data(self, data: bytes) -> None:
        if self._name is None:
            self._sink.write(data)
            return
        self._texts += len(data)
        if self._texts > _LONGEST_TEXT:
            raise _malformed(f"its text fields have more than {_LONGEST_TEXT} bytes")
        self._text.append(data)

    def _end(self) -> None:
        if self._name is not None:
            self.fields.append((self._name, b"".join(self._text).decode("utf-8")))
        self._name = None


def _malformed(what: str) -> errors.BadRequest:
    return errors.BadRequest(f"The form cannot be read: {what}.", code="invalid_multipart")
