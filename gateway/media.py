"""What is a picture, a sound or a file inside a text, and no text itself. A leaf."""

from __future__ import annotations

import re

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
