"""Texts that a request encloses as files: ``file_data`` that is base64 of words. They are read as the words that they
are, and what is changed in one is encoded again. A leaf.

Whoever reads a file decides what it is by more than its declared type, and a stray byte makes no text a picture: so
what begins like no known binary and consists of printable characters for the most part is a text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

_HEAD = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_READ_AS = "data:text/plain,"
"""Before the words, so that they are no base64 to those who pass bytes over."""
_BINARY = (
    b"%PDF", b"PK\x03\x04", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"ID3", b"OggS", b"fLaC", b"\x1aE\xdf\xa3",
    b"\x1f\x8b", b"\xd0\xcf\x11\xe0",
)  # fmt: skip
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_LOOK = 4096  # bytes
_UNPRINTABLE = bytes([*range(9), 11, *range(14, 27), *range(28, 32), 127])
_MOST_ODD = 0.3


def opened(prose: dict[str, Any]) -> dict[str, Any]:
    """``prose`` with enclosed texts as words; the same object where there are none."""
    return _mapped(prose, _words)


def closed_again(prose: dict[str, Any], words: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """``changed``, which was ``words`` (``prose`` opened), with its enclosed texts encoded as they were."""
    if words is prose:
        return changed
    messages = [_message_closed(*three) for three in zip(
        prose["messages"], words["messages"], changed["messages"], strict=True)]  # fmt: skip
    return {**changed, "messages": messages}


def _message_closed(before: Any, words: Any, after: Any) -> Any:
    if words is before or not isinstance(after, dict) or not isinstance(after.get("content"), list):
        return after
    parts = [_part_closed(*three) for three in zip(before["content"], words["content"], after["content"], strict=True)]
    return {**after, "content": parts}


def _part_closed(before: Any, words: Any, after: Any) -> Any:
    if words is before:
        return after
    given, said, left = (one["file"]["file_data"] for one in (before, words, after))
    if left != said:
        head = _HEAD.match(given)
        given = (head.group() if head else "") + base64.b64encode(left.removeprefix(_READ_AS).encode()).decode()
    return {**after, "file": {**after["file"], "file_data": given}}


def _mapped(prose: dict[str, Any], change: Callable[[str], str | None]) -> dict[str, Any]:
    messages = prose.get("messages")
    if not isinstance(messages, list):
        return prose
    new = [_message(one, change) for one in messages]
    return prose if all(one is old for one, old in zip(new, messages, strict=True)) else {**prose, "messages": new}


def _message(message: Any, change: Callable[[str], str | None]) -> Any:
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return message
    parts = [_part(one, change) for one in content]
    if all(one is old for one, old in zip(parts, content, strict=True)):
        return message
    return {**message, "content": parts}


def _part(part: Any, change: Callable[[str], str | None]) -> Any:
    file = part.get("file") if isinstance(part, Mapping) else None
    data = file.get("file_data") if isinstance(file, Mapping) else None
    words = change(data) if isinstance(data, str) else None
    return part if words is None else {**part, "file": {**file, "file_data": words}}  # type: ignore[dict-item]


def _words(data: str) -> str | None:
    """What an enclosed text says; None for anything else."""
    head = _HEAD.match(data)
    coded = data[head.end() :] if head else data
    if not _is_text(_decoded(coded[: _LOOK // 3 * 4])):
        return None
    raw = _decoded(coded)
    return _READ_AS + raw.decode("utf-16" if raw.startswith(_WIDE) else "utf-8-sig", "replace")


def _decoded(coded: str) -> bytes:
    """b"" for what is no base64; letters of its other alphabet count too."""
    if not coded.isascii():
        return b""
    plain = coded.rstrip("= \r\n").translate({45: 43, 95: 47, 10: None, 13: None, 32: None})
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_text(raw: bytes) -> bool:
    if not raw or raw.startswith(_BINARY):
        return False
    if raw.startswith(_WIDE):
        return True
    said = raw.decode("utf-8", "replace")
    odd = said[:-1].count("\ufffd") + len(raw) - len(raw.translate(None, _UNPRINTABLE))
    return odd <= _MOST_ODD * len(said)
