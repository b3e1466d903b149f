"""Texts that a request encloses as files: ``file_data`` that is base64 of words. They are read as the words that they
are, and what is changed in one is encoded again. A document (PDF, Office) stands for what it says, and when that is
changed the text goes on in its place: nothing is changed inside one.

Whoever reads a file decides what it is by more than its declared type, and a stray byte makes no text a picture: so
what begins like no known binary and consists of printable characters for the most part is a text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

from gateway.texts.media import document_in

_HEAD = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)
_DOCUMENTS_HEAD = re.compile(
    r"data:application/(?:pdf|msword|vnd\.(?:openxmlformats-officedocument|ms-|oasis\.))", re.IGNORECASE
)
_READ_AS = "data:text/plain,"
"""Before the words, so that they are no base64 to those who pass bytes over."""
_READ_OF = "data:text/plain;charset=utf-8,"
"""Likewise before what a document says: whoever changes that has to know that it is one."""
_BINARY = (
    b"%PDF", b"PK\x03\x04", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"ID3", b"OggS", b"fLaC", b"\x1aE\xdf\xa3",
    b"\x1f\x8b", b"\xd0\xcf\x11\xe0",
)  # fmt: skip
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_LOOK = 4096  # bytes
_UNPRINTABLE = bytes([*range(9), 11, *range(14, 27), *range(28, 32), 127])
_MOST_ODD = 0.3
_CODED = re.compile(r"[A-Za-z0-9+/=_-]+")
_SHORT, _MOSTLY = 16, 0.75


def opened(prose: dict[str, Any], documents: list[str] | None = None) -> dict[str, Any]:
    """``prose`` with enclosed texts as words; the same object where there are none. ``documents`` gets the
    ``file_data`` of what are documents, or said to be ones and no text, and of base64 that is none from its beginning
    to its end, in which others read on: who reads those decides how."""

    def words(data: str) -> str | None:
        head = _HEAD.match(data)
        coded = data[head.end() :] if head else data
        beginning = _beginning(coded)
        plain = _is_text(beginning)
        raw = _decoded(coded) if plain else b""
        document = document_in(beginning) or (not plain and _DOCUMENTS_HEAD.match(data))
        broken = not raw if plain else not beginning and _meant_as_base64(coded, told=head is not None)
        if documents is not None and (document or broken):
            documents.append(data)
            return None
        return _said(raw) if raw else None

    return _mapped(prose, words)


def saying(prose: dict[str, Any], said: Mapping[str, str]) -> dict[str, Any]:
    """``prose`` with documents as what they say: ``said``, by their ``file_data``, as :func:`read_of` has it."""
    return _mapped(prose, said.get)


def read_of(data: str, text: str) -> str:
    """What stands for a document that says ``text``. One that is a text as well to whoever looks at its beginning says
    both."""
    raw = decoded(data)
    words = _said(raw) if _is_text(raw[:_LOOK]) else None
    return _READ_OF + (text if words is None else f"{words.removeprefix(_READ_AS)}\n{text}")


def closed_again(prose: dict[str, Any], words: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """``changed``, which was ``words`` (``prose`` opened), with its enclosed texts encoded as they were, and its
    documents too where nobody changed what they say."""
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
    picture = _picture(before)
    given = before["file"]["file_data"] if picture is None else picture
    said, left = words["file"]["file_data"], after["file"]["file_data"]
    if left == said and picture is not None:
        return before
    if left != said and said.startswith(_READ_OF):
        return as_text(after, left.removeprefix(_READ_OF))
    if left != said:
        head = _HEAD.match(given)
        given = (head.group() if head else "") + base64.b64encode(left.removeprefix(_READ_AS).encode()).decode()
    return {**after, "file": {**after["file"], "file_data": given}}


def as_text(part: Mapping[str, Any], text: str) -> dict[str, Any]:
    """What goes on in the place of ``part``, a document that says ``text``: that text under its name. Claude reads it
    as a document with its title; what a client said beside it stays."""
    name = str(part["file"].get("filename") or "document")
    beside = {key: value for key, value in part.items() if key not in ("type", "file")}
    document = {"title": name, **(beside.pop("document", None) or {})}
    return {"type": "text", "text": f"{name}:\n\n{text}", **beside, "document": document}


def words_in(data: str) -> str | None:
    """What a file says that is a text; None for any other."""
    raw = decoded(data)
    return _said(raw).removeprefix(_READ_AS) if _is_text(raw[:_LOOK]) else None


def retold(body: Mapping[str, Any], told: Mapping[str, str | None]) -> dict[str, Any]:
    """``body`` with texts in the place of files: ``told``, by their ``file_data``; None: nothing."""
    return {**body, "messages": [_message_retold(one, told) for one in body["messages"]]}


def _message_retold(message: Any, told: Mapping[str, str | None]) -> Any:
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return message
    parts = []
    for part in message["content"]:
        data = file_data(part)
        if data is None or data not in told:
            parts.append(part)
        elif (text := told[data]) is not None:
            parts.append(as_text(part, text))
    return {**message, "content": parts}


def file_data(part: Any) -> str | None:
    """The content of a part that encloses a file."""
    file = part.get("file") if isinstance(part, dict) else None
    data = file.get("file_data") if isinstance(file, dict) else None
    return data if isinstance(data, str) else None


def _picture(part: Any) -> str | None:
    """What is sent as a picture and says that it is none: some providers read whatever the address holds."""
    if not isinstance(part, dict) or part.get("type") != "image_url":
        return None
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    return url if isinstance(url, str) and url.startswith("data:") and not url.startswith("data:image/") else None


def _mapped(prose: dict[str, Any], change: Callable[[str], str | None]) -> dict[str, Any]:
    messages = prose.get("messages")
    if not isinstance(messages, list):
        return prose
    for message in messages:  # most requests have no parts at all
        if isinstance(message, dict) and isinstance(message.get("content"), list):
            break
    else:
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
    if not isinstance(part, dict) or ("file" not in part and "image_url" not in part):
        return part
    picture = _picture(part)
    data = file_data(part) if picture is None else picture
    words = change(data) if data is not None else None
    if words is None:
        return part
    if picture is None:
        return {**part, "file": {**part["file"], "file_data": words}}
    beside = {name: value for name, value in part.items() if name != "image_url"}
    return {**beside, "type": "file", "file": {"filename": "document", "file_data": words}}


def _said(raw: bytes) -> str:
    return _READ_AS + raw.decode("utf-16" if raw.startswith(_WIDE) else "utf-8-sig", "replace")


def decoded(data: str) -> bytes:
    """The bytes of ``file_data``; b"" for what is no base64."""
    head = _HEAD.match(data)
    return _decoded(data[head.end() :] if head else data)


def _decoded(coded: str) -> bytes:
    """b"" for what is no base64; letters of its other alphabet count too."""
    plain = _letters(coded)
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _beginning(coded: str) -> bytes:
    """What the first letters say, whole groups of them."""
    some = _letters(coded[: _LOOK // 3 * 4])
    return _decoded(some[: len(some) // 4 * 4] if len(coded) > _LOOK // 3 * 4 else some)


def _letters(coded: str) -> str:
    return coded.rstrip("= \t\r\n").translate({45: 43, 95: 47, 9: None, 10: None, 13: None, 32: None})


def _meant_as_base64(coded: str, *, told: bool) -> bool:
    """Whether others than we may read base64 here, passing over what does not belong. ``told``: it says so."""
    if told or " " in coded:
        return told and bool(coded.strip())
    return len(coded) >= _SHORT and sum(map(len, _CODED.findall(coded))) >= _MOSTLY * len(coded)


def _is_text(raw: bytes) -> bool:
    if not raw or raw.startswith(_BINARY):
        return False
    if raw.startswith(_WIDE):
        return True
    said = raw.decode("utf-8", "replace")
    odd = said[:-1].count("\ufffd") + len(raw) - len(raw.translate(None, _UNPRINTABLE))
    return odd <= _MOST_ODD * len(said)
