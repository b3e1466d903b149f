"""Cached answers in Redis, shared by all workers. Sealed under the spool's key together with the key they stand under:
who can read Redis learns nothing, and who can write there cannot pass one answer off as another.

Redis away, slow or holding nonsense means that nothing is found; it is never an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from cryptography.exceptions import InvalidTag

from gateway.sharing.link import Away, Link
from gateway.storage.answers import OVERHEAD, Fits
from gateway.storage.spooling.format import SpoolCipher

_BATCH = 100


class RedisAnswers:
    """Implements gateway.storage.answers.Answers; lives and expires by Redis' own clock. ``max_bytes`` bounds all
    workers together, and the answers that would expire first make room. ``room`` tells caches apart."""

    def __init__(self, link: Link, cipher: SpoolCipher, room: str = "cache") -> None:
        self._link, self._cipher = link, cipher
        self._prefix = f"understudy:{{{cipher.key_id.hex()}:{room}}}:"  # one hash slot, for a cluster's sake
        self._order, self._sizes = f"{self._prefix}order", f"{self._prefix}sizes"
        self._keep, self._forget, self._clear = (
            files("gateway.storage.counting").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
            for name in ("keep", "forget", "clear")
        )
        self._claimed: set[str] = set()

    async def get(self, key: str, now: float) -> bytes | None:
        try:
            return self._opened(key, await self._link.ask("GET", self._prefix + key))
        except Away:
            return None

    def _opened(self, key: str, found: Any) -> bytes | None:
        try:
            opened = self._cipher.open(found) if isinstance(found, bytes) else b""
        except (InvalidTag, ValueError):
            return None
        stands_under, mine = opened[: len(key)], key.encode()
        return opened[len(key) :] if stands_under == mine and found else None

    def put(self, key: str, answer: bytes, *, now: float, ttl: float, max_bytes: int) -> None:
        place, sealed = self._prefix + key, self._cipher.seal(key.encode() + answer)
        keys = (place, self._order, self._sizes)
        self._link.tell(
            "EVAL", self._keep, len(keys), *keys, sealed, max(1, int(ttl * 1000)), max_bytes, OVERHEAD
        )

    def clear(self) -> None:
        self._link.tell("EVAL", self._clear, 2, self._order, self._sizes)

    async def claim(self, key: str, ttl: float) -> bool:
        try:
            words = ("SET", f"{self._prefix}{key}:asked", "1", "NX", "PX", int(ttl * 1000))
            claimed = bool(await self._link.ask(*words))
        except Away:
            return True
        if claimed:
            self._claimed.add(key)
        return claimed

    def hold(self, key: str, ttl: float) -> None:
        if key in self._claimed:
            self._link.tell("PEXPIRE", f"{self._prefix}{key}:asked", int(ttl * 1000))

    def release(self, key: str) -> None:
        if key in self._claimed:
            self._claimed.remove(key)
            self._link.tell("DEL", f"{self._prefix}{key}:asked")

    async def purge(self, fits: Fits, key: str = "") -> int:
        """What cannot be opened is forgotten, too. An outage ends it early: what is left expires by itself."""
        gone = 0
        try:
            places = [self._prefix + key] if key else await self._places()
            for at in range(0, len(places), _BATCH):
                gone += await self._purge(places[at : at + _BATCH], fits)
        except Away:
            pass
        return gone

    async def _places(self) -> list[str]:
        found = await self._link.ask("ZRANGE", self._order, 0, -1)
        return [one.decode() for one in found] if isinstance(found, list) else []

    async def many(self, keys: Sequence[str]) -> list[bytes]:
        """What is kept under these keys, as far as it is. Raises Away."""
        found: list[bytes] = []
        for at in range(0, len(keys), _BATCH):
            part = keys[at : at + _BATCH]
            sealed = await self._link.ask("MGET", *(self._prefix + key for key in part))
            opened = (self._opened(key, one) for key, one in zip(part, sealed, strict=True))
            found += [one for one in opened if one is not None]
        return found

    async def keys(self) -> list[str]:
        """Under which something is kept, what would expire first first. Raises Away."""
        return [place.removeprefix(self._prefix) for place in await self._places()]

    async def _purge(self, places: Sequence[str], fits: Fits) -> int:
        found = await self._link.ask("MGET", *places)
        gone = []
        for place, sealed in zip(places, found, strict=True):
            key = place.removeprefix(self._prefix)
            opened = self._opened(key, sealed)
            if sealed is not None and (opened is None or fits(key, opened)):
                gone.append(place)
        return await self._forget_places(gone) if gone else 0

    async def _forget_places(self, places: list[str]) -> int:
        words = ("EVAL", self._forget, len(places) + 2, self._order, self._sizes, *places)
        return int(await self._link.ask(*words))

    def stats(self) -> dict[str, int]:
        """Nothing: what all workers keep together is not counted here."""
        return {}
