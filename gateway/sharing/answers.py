"""Cached answers in Redis, shared by all workers. Sealed under the spool's key together with the key they stand under:
who can read Redis learns nothing, and who can write there cannot pass one answer off as another.

Redis away, slow or holding nonsense means that nothing is found; it is never an error.
"""

from __future__ import annotations

from importlib.resources import files

from cryptography.exceptions import InvalidTag

from gateway.sharing.link import Away, Link
from gateway.storage.answers import OVERHEAD
from gateway.storage.spool_format import SpoolCipher


class RedisAnswers:
    """Implements gateway.storage.answers.Answers; lives and expires by Redis' own clock. ``max_bytes`` bounds all
    workers together, and the answers that would expire first make room."""

    def __init__(self, link: Link, cipher: SpoolCipher) -> None:
        self._link, self._cipher = link, cipher
        self._prefix = f"understudy:{{{cipher.key_id.hex()}:cache}}:"  # one hash slot, for a cluster's sake
        self._keep = files("gateway.storage").joinpath("lua", "keep.lua").read_text(encoding="utf-8")
        self._clear = files("gateway.storage").joinpath("lua", "clear.lua").read_text(encoding="utf-8")
        self._claimed: set[str] = set()

    async def get(self, key: str, now: float) -> bytes | None:
        try:
            found = await self._link.ask("GET", self._prefix + key)
            opened = self._cipher.open(found) if isinstance(found, bytes) else b""
        except (Away, InvalidTag, ValueError):
            return None
        stands_under, mine = opened[: len(key)], key.encode()
        return opened[len(key) :] if stands_under == mine and found else None

    def put(self, key: str, answer: bytes, *, now: float, ttl: float, max_bytes: int) -> None:
        place, sealed = self._prefix + key, self._cipher.seal(key.encode() + answer)
        life = max(1, int(ttl * 1000))
        keys = (place, f"{self._prefix}order", f"{self._prefix}sizes")
        self._link.tell("EVAL", self._keep, len(keys), *keys, sealed, life, max_bytes, OVERHEAD)

    def clear(self) -> None:
        self._link.tell("EVAL", self._clear, 2, f"{self._prefix}order", f"{self._prefix}sizes")

    async def claim(self, key: str, ttl: float) -> bool:
        try:
            words = ("SET", f"{self._prefix}{key}:asked", "1", "NX", "PX", int(ttl * 1000))
            claimed = bool(await self._link.ask(*words))
        except Away:
            return True
        if claimed:
            self._claimed.add(key)
        return claimed

    def release(self, key: str) -> None:
        if key in self._claimed:
            self._claimed.remove(key)
            self._link.tell("DEL", f"{self._prefix}{key}:asked")
