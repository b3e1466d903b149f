"""The bytes of a spool segment: a header, then frames. Pure but for making the key file.

    segment   magic(8) key id(4) reserved(4)  frame*  [zeros, in a preallocated segment]
    frame     marker(4) length(4) seq(8) crc32(4)  nonce(12) AES-256-GCM(msgpack record)(length - 12)

Numbers are big-endian; the CRC covers length, seq, nonce and ciphertext. A frame that is torn or damaged is
recognised by its CRC and skipped by looking for the next marker with a sound frame behind it. ``seq`` counts a
writer's records from 1, so a record that was written twice (once more after a failed fsync) is ingested once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import struct
import zlib
from typing import Literal, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.protocol.random_bytes import piece
from gateway.storage.home import Home
from gateway.storage.settled import make_folders
from gateway.storage.signing import create_once

HEADER_SIZE = 16
FRAME_HEAD = 20
NONCE = 12
_MAGIC = b"USPOOL1\n"
_MARKER = b"\xf5R\xa9c"
_HEAD = struct.Struct(">4sIQI")
_COUNTED = struct.Struct(">IQ")
_LONGEST = 600 * 1024 * 1024  # no record is longer: a larger length is damage
_LEAST = NONCE + 16  # nonce and GCM tag around an empty record


class SpoolKeyError(Exception):
    """The spool was written under another key, or the key is malformed; the text says what to do."""


class Frame(NamedTuple):
    """A sound frame: where it starts, where the next one starts, and its encrypted body."""

    start: int
    end: int
    seq: int
    body: bytes


Gap = Literal["end", "torn"]


class SpoolCipher:
    """Seals and opens records under one 32-byte key; each record has a random nonce of its own."""

    def __init__(self, key: bytes) -> None:
        self._aead, self._key = AESGCM(key), key
        self.key_id = hashlib.sha256(b"understudy spool key" + key).digest()[:4]

    def seal(self, record: bytes) -> bytes:
        nonce = piece()[:NONCE]
        return nonce + self._aead.encrypt(nonce, record, None)

    def derived(self, purpose: bytes) -> bytes:
        """A secret of 32 bytes for one purpose, the same wherever the key is the same."""
        return hmac.digest(self._key, purpose, "sha256")

    def open(self, body: bytes) -> bytes:
        """Raises cryptography.exceptions.InvalidTag when the body is not genuine."""
        return self._aead.decrypt(body[:NONCE], body[NONCE:], None)

    def opens(self, body: bytes) -> bool:
        try:
            self.open(body)
        except InvalidTag:
            return False
        return True


def load_cipher(home: Home) -> SpoolCipher:
    """The key from ``UNDERSTUDY_SPOOL_KEY`` (base64), else from ``secrets/spool.key``, made on first use.
    Raises SpoolKeyError when it is not 32 bytes."""
    text = os.environ.get("UNDERSTUDY_SPOOL_KEY")
    source = "UNDERSTUDY_SPOOL_KEY"
    if not text:
        source = "secrets/spool.key"
        make_folders([home.secrets])
        text = create_once(home.secrets / "spool.key", base64.b64encode(os.urandom(32))).decode()
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != 32:
        raise SpoolKeyError(f"{source} must be 32 bytes in base64 (openssl rand -base64 32 makes one).")
    return SpoolCipher(key)


def header(cipher: SpoolCipher) -> bytes:
    return _MAGIC + cipher.key_id + b"\0\0\0\0"


def check_header(data: bytes, cipher: SpoolCipher, name: str) -> bool:
    """Whether ``data`` starts a readable segment; False when it is damaged. Raises SpoolKeyError when what it holds
    was sealed under another key, because skipping it would lose all of that. The header alone proves nothing: a key's
    name that is torn looks like the name of another."""
    if len(data) < HEADER_SIZE or data[:8] != _MAGIC or data[12:16] != b"\0\0\0\0":
        return False
    if data[8:12] == cipher.key_id:
        return True
    first = next_frame(data, HEADER_SIZE - 1)
    if first is None or cipher.opens(first.body):
        return False
    raise SpoolKeyError(
        f"Spool segment {name} was written under another key. Restore secrets/spool.key (or "
        "UNDERSTUDY_SPOOL_KEY), or move the segment away to give up what is in it."
    )


def frame(seq: int, body: bytes) -> bytes:
    """The frame of a sealed record."""
    counted = _COUNTED.pack(len(body), seq)
    return b"%b%b%b%b" % (_MARKER, counted, zlib.crc32(body, zlib.crc32(counted)).to_bytes(4, "big"), body)


def _checksum(length: int, seq: int, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(_COUNTED.pack(length, seq)))


def frame_at(data: bytes, start: int) -> Frame | Gap:
    """The frame at ``start``; "end" when only zeros (or nothing) follow; "torn" for anything else."""
    if len(data) - start >= FRAME_HEAD:
        marker, length, seq, crc = _HEAD.unpack_from(data, start)
        end = start + FRAME_HEAD + length
        if marker == _MARKER and _LEAST <= length <= _LONGEST and end <= len(data):
            body = data[start + FRAME_HEAD : end]
            if _checksum(length, seq, body) == crc:
                return Frame(start, end, seq, body)
    return "torn" if data[start:].strip(b"\0") else "end"


def next_frame(data: bytes, start: int) -> Frame | None:
    """The first sound frame after damage at ``start``; None when there is none."""
    at = data.find(_MARKER, start + 1)
    while at != -1:
        found = frame_at(data, at)
        if isinstance(found, Frame):
            return found
        at = data.find(_MARKER, at + 1)
    return None
