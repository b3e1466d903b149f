"""A kept answer, what tells which ones to forget, and what a client's ``cache-control`` asks for."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from gateway.protocol.chat import Usage

KEY_HEADER = "x-understudy-cache-key"
"""Tells a client under which key its answer is kept."""


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """``kept_at``: unix seconds when it was asked for; it is fresh for ``fresh_s`` from then on. ``key_id``: whose
    call brought it; ``provider`` and ``model`` gave it. ``answer``: their JSON."""

    kept_at: float
    fresh_s: float
    project: str
    task: str
    key_id: str
    provider: str
    model: str
    usage: Usage | None
    answer: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


def packed(entry: Entry) -> bytes:
    return _encode(entry)


def unpacked(raw: bytes) -> Entry | None:
    """None for bytes that are no entry: those of another version of this gateway, for one."""
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Purge(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """Which kept answers to forget: those for which everything that is given holds; nothing given means all.

    ``key_ids``: of those whose calls brought the answer; ``entry``: the one under this key; ``before``: asked for
    until then, in unix seconds.
    """

    project: str = ""
    task: str = ""
    key_ids: tuple[str, ...] = ()
    entry: str = ""
    before: float = math.inf

    def fits(self, key: str, entry: Entry) -> bool:
        return (
            (not self.entry or self.entry == key)
            and (not self.project or self.project == entry.project)
            and (not self.task or self.task == entry.task)
            and (not self.key_ids or entry.key_id in self.key_ids)
            and entry.kept_at <= self.before
        )


def oldest(wishes: Iterable[str]) -> float:
    """The age in seconds up to which ``cache-control`` accepts a kept answer; 0: none, whatever its age. What nobody
    can read accepts none (RFC 9111, section 4.2.1, has such answers taken for stale)."""
    accepted = math.inf
    for wish in wishes:
        name, _, value = wish.partition("=")
        if name == "no-cache":
            return 0.0
        if name.rstrip() == "max-age":
            age = value.strip(' "')
            accepted = min(accepted, float(age[:12]) if age.isascii() and age.isdigit() else 0.0)
    return accepted
