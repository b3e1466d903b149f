"""The head of a connection's last request, to know the next one by.

An SDK sends the same bytes with every call but for the length of the body. What is equal to them was let pass by the
parser and by every check, so it needs neither again: the next request is told from its head by comparing bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_LENGTH = re.compile(rb"\r\ncontent-length: ?(\d{1,10})\r\n", re.IGNORECASE)
_LONGEST = 8 * 1024
"""Bytes of a head that is kept: every connection keeps one."""


class KnownHead(NamedTuple):
    """``before`` and ``after`` the digits of its Content-Length; ``headers`` as they were read."""

    before: bytes
    after: bytes
    headers: Mapping[str, str]

    def again(self, data: bytes) -> tuple[dict[str, str], bytes] | None:
        """Headers and body when ``data`` is one whole request with this head and nothing after it."""
        before, after, headers = self
        if not data.startswith(before):
            return None
        at = len(before)
        end = data.find(b"\r", at, at + 11)
        length = data[at:end]
        if end < 0 or not length.isdigit() or not data.startswith(after, end):
            return None
        body = data[end + len(after) :]
        if len(body) != int(length):
            return None
        return {**headers, "content-length": length.decode()}, body


def learn(data: bytes, headers: Mapping[str, str]) -> KnownHead | None:
    """The head of ``data``, which was read as one request with ``headers``. None when it is not whole, has no plain
    Content-Length or is too long to keep."""
    end = data.find(b"\r\n\r\n", 0, _LONGEST)
    found = _LENGTH.search(data, 0, end + 2) if end >= 0 else None
    if found is None or len(data) != end + 4 + int(found[1]):
        return None
    return KnownHead(data[: found.start(1)], data[found.end(1) : end + 4], headers)
