"""What the documents say that requests enclose: read by the same process within the same bounds as those of vector
stores, and not again while they are remembered.

A conversation sends its documents with every turn. So texts are kept, by project and digest, up to a bound; no document
is, and nothing of either is written to a disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections import OrderedDict

from gateway.config.serving import VectorStores
from gateway.retrieval.documents import document_text
from gateway.retrieval.reading import NotRead
from gateway.retrieval.turns import Turns
from gateway.texts.enclosed import decoded
from gateway.texts.media import DocumentKind, document_in

_AT_ONCE = 3
"""Documents that one worker reads at the same time, of which a project has all but one at most."""
_MOST_BYTES = 32 * 1024 * 1024
_SMALL = 256 * 1024
"""Characters of base64 up to which decoding holds nobody up."""

_Key = tuple[str, bytes, int, int, int, int]
"""A project, a digest, and the bounds under which it was read."""


class EnclosedDocuments:
    """``most_bytes``: of texts that are remembered; what was not read lastingly is too."""

    def __init__(self, *, at_once: int = _AT_ONCE, most_bytes: int = _MOST_BYTES) -> None:
        self._turns, self._most = Turns(at_once, max(1, at_once - 1)), most_bytes
        self._known: OrderedDict[_Key, str | NotRead] = OrderedDict()
        self._bytes = 0

    async def text(self, data: str, project: str, bounds: VectorStores, *, remaining: float) -> str:
        """What the document says that ``data`` (base64, or a data: address) is, within ``remaining`` seconds. Raises
        NotRead."""
        read = _bytes_of(data) if len(data) < _SMALL else await asyncio.to_thread(_bytes_of, data)
        kind, raw, digest = read
        if kind in ("", "closed Office document"):
            raise _unreadable(kind, raw)
        key = (project, digest, bounds.file_bytes, bounds.read_mb, bounds.read_s, bounds.pages)
        try:
            async with asyncio.timeout(remaining):
                return await self._text(key, raw, kind, bounds)
        except TimeoutError:
            message = "The file could not be read in the time that the request has."
            raise NotRead("invalid_file", message, lasting=False) from None

    async def _text(self, key: _Key, raw: bytes, kind: DocumentKind, bounds: VectorStores) -> str:
        if key not in self._known:
            async with self._turns.taken(key[0]):
                if key not in self._known:  # who sent the same one just before may have read it by now
                    return await self._read(key, raw, kind, bounds)
        self._known.move_to_end(key)
        found = self._known[key]
        if isinstance(found, NotRead):
            raise NotRead(found.code, str(found))
        return found

    async def _read(self, key: _Key, raw: bytes, kind: DocumentKind, bounds: VectorStores) -> str:
        try:
            text = await document_text(raw, kind, bounds)
        except NotRead as problem:
            if problem.lasting:
                self._keep(key, problem)
            raise
        self._keep(key, text)
        return text

    def _keep(self, key: _Key, found: str | NotRead) -> None:
        before = self._known.pop(key, None)
        self._bytes -= _size(before) if before is not None else 0
        self._known[key] = found
        self._bytes += _size(found)
        while self._bytes > self._most:
            self._bytes -= _size(self._known.popitem(last=False)[1])

    def clear(self) -> None:
        """Forgets everything: what a person's erasure does to whatever cannot say whose it is."""
        self._known.clear()
        self._bytes = 0

    def stats(self) -> dict[str, int]:
        """``entries`` and their ``bytes``."""
        return {"entries": len(self._known), "bytes": self._bytes}


_OWN = 1024
"""Bytes that a remembered document takes beside its text."""


def _size(found: str | NotRead) -> int:
    return _OWN + (sys.getsizeof(found) if isinstance(found, str) else len(str(found)))


def _bytes_of(data: str) -> tuple[DocumentKind, bytes, bytes]:
    raw = decoded(data)
    return document_in(raw), raw, hashlib.sha256(raw).digest()


def _unreadable(kind: DocumentKind, raw: bytes) -> NotRead:
    if kind:
        return NotRead("unsupported_file", "The Office document has a password, or a form older than docx.")
    if raw:
        return NotRead("unsupported_file", "The file is no PDF, docx, pptx or xlsx.")
    return NotRead("invalid_file", "The file is no base64 from its beginning to its end.")
