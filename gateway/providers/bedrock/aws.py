"""What AWS needs on the wire: Signature Version 4, and the binary event stream. Sans IO.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import time
import zlib
from collections.abc import Mapping
from urllib.parse import quote

from msgspec import Struct

LARGEST_MESSAGE = 16 * 1024 * 1024
_ALGORITHM = "AWS4-HMAC-SHA256"
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of the header values that have no length of their own, by type."""


class Credentials(Struct, frozen=True):
    key_id: str
    secret: str
    session_token: str = ""


def signed_headers(
    credentials: Credentials,
    *,
    method: str,
    path: str,
    query: str = "",
    headers: Mapping[str, str],
    body: bytes,
    region: str,
    service: str,
    now: float,
) -> dict[str, str]:
    """``headers`` (lower case, with ``host``) and what makes them signed. ``path`` and ``query`` are as they go
    over the wire, already quoted; AWS quotes the path once more before it signs (for all services but S3)."""
    instant = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    day = instant[:8]
    signed = {**headers, "x-amz-date": instant}
    if credentials.session_token:
        signed["x-amz-security-token"] = credentials.session_token
    names = ";".join(sorted(signed))
    canonical = "\n".join([
        method, quote(path, safe="/-_.~"), query, *(f"{name}:{signed[name].strip()}" for name in sorted(signed)), "",
        names, hashlib.sha256(body).hexdigest(),
    ])  # fmt: skip
    scope = f"{day}/{region}/{service}/aws4_request"
    text = "\n".join([_ALGORITHM, instant, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    authorization = (
        f"{_ALGORITHM} Credential={credentials.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return {**signed, "authorization": authorization}


class Message(Struct, frozen=True):
    """One message of an event stream: its text headers and its payload."""

    headers: dict[str, str]
    payload: bytes


class BrokenMessage(Exception):
    """The bytes are no event stream: a wrong checksum or an impossible length."""


class MessageParser:
    """Feeds on bytes, yields messages, wherever the bytes were cut.

    A message is: total length, length of the headers, CRC-32 of these eight bytes; headers; payload; CRC-32 of all
    before it. All numbers are big endian.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages completed by ``data``. Raises BrokenMessage."""
        self._rest += data
        found = []
        while len(self._rest) >= 12:
            total, size, check = struct.unpack_from(">III", self._rest)
            if zlib.crc32(self._rest[:8]) != check or not 16 + size <= total <= LARGEST_MESSAGE:
                raise BrokenMessage
            if len(self._rest) < total:
                break
            raw, self._rest = self._rest[:total], self._rest[total:]
            if zlib.crc32(raw[:-4]) != struct.unpack(">I", raw[-4:])[0]:
                raise BrokenMessage
            found.append(Message(_headers(raw[12 : 12 + size]), raw[12 + size : -4]))
        return found


def _headers(raw: bytes) -> dict[str, str]:
    """The headers that hold text (type 7); others are passed over. Raises BrokenMessage."""
    found = {}
    at = 0
    try:
        while at < len(raw):
            name = raw[at + 1 : at + 1 + raw[at]].decode()
            at += 1 + raw[at]
            kind = raw[at]
            at += 1
            if kind in _FIXED:
                at += _FIXED[kind]
                continue
            (size,) = struct.unpack_from(">H", raw, at)
            if kind == 7:
                found[name] = raw[at + 2 : at + 2 + size].decode()
            at += 2 + size
    except (IndexError, struct.error, UnicodeDecodeError):
        raise BrokenMessage from None
    return found
