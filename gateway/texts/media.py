"""What is a picture, a sound or a file inside a text, and no text itself; what kind of document bytes are. A leaf."""

from __future__ import annotations

import re
from typing import Literal

DocumentKind = Literal["PDF", "Office document", "closed Office document", ""]
_WITHIN = 1024
"""Bytes within which readers look for a document's beginning: what stands before it keeps neither PDF nor zip from
being opened."""
_MEDIA = re.compile(r"data:(?!text/)[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*?;base64,", re.ASCII | re.IGNORECASE)
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\r\n"


def is_media(text: str) -> bool:
    """Whether a text is a data URL of something that is no text. One that only begins like that is a text."""
    head = _MEDIA.match(text)
    return head is not None and _is_base64(text[head.end() :])


def is_bytes(text: str) -> bool:
    """The same, also without the URL around it: ``data`` of a document may be its very words."""
    return _is_base64(text) or is_media(text)


def _is_base64(text: str) -> bool:
    return text.isascii() and not text.encode().translate(None, _BASE64)


def document_in(head: bytes) -> DocumentKind:
    """What document begins with ``head``; "" for what is none. Any zip file counts as an Office document. A closed one
    is of the form before 2007, which is also how one with a password is kept: nobody here reads it."""
    if b"%PDF-" in head[:_WITHIN]:
        return "PDF"
    if b"PK\x03\x04" in head[:_WITHIN]:
        return "Office document"
    return "closed Office document" if head.startswith(b"\xd0\xcf\x11\xe0") else ""
