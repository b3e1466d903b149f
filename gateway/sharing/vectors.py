"""Kept questions that are searched in Redis: vector sets, which Redis has from version 8 on (``index: redis``).

No worker holds them in memory. A question is sealed under its place, which names project, task and bucket; so is its
vector, and the likeness is computed from that one. The copy that Redis searches is turned by the spool's key
(:class:`Turned`). So whoever can write to that Redis can cause a miss, and cannot make one question look like another.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from gateway.caching.commons import Passed, encode, passed_in
from gateway.sharing.answers import RedisAnswers
from gateway.sharing.link import Away, Link
from gateway.storage.answers import OVERHEAD
from gateway.storage.spooling.format import SpoolCipher

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_log = logging.getLogger("understudy.sharing")
_LINKS = 700
"""Bytes of a vector's neighbours in its set, roughly; beside them it takes one byte for a value."""

_AT_ONCE = 8
"""Questions of one worker that are being kept. One takes Redis up to a millisecond, in which no limit, budget or answer
of anybody is looked up: a flood of new questions must not make Redis look away."""


class Turned:
    """Vectors under a secret rotation: their order is shuffled and signs are flipped, so that products stay what they
    are. It hides a question's vector from who only reads; it is no encryption."""

    def __init__(self, secret: bytes) -> None:
        self._seed = struct.unpack("<4Q", secret)
        self._known: dict[int, tuple[Any, Any]] = {}

    def bytes_of(self, vector: NDArray[np.float32]) -> bytes:
        order, signs = self._known.get(len(vector)) or self._for(len(vector))
        turned: NDArray[np.float32] = vector[order] * signs
        return turned.tobytes()

    def _for(self, size: int) -> tuple[Any, Any]:
        import numpy as np

        rng = np.random.Generator(np.random.PCG64(self._seed))
        signs = (2 * rng.integers(0, 2, size) - 1).astype(np.float32)
        self._known[size] = made = rng.permutation(size), signs
        return made


class RedisVectors(RedisAnswers):
    """Bounded in bytes for all workers together, and in questions for each task; what would expire first goes first."""

    def __init__(self, link: Link, cipher: SpoolCipher) -> None:
        super().__init__(link, cipher, "vectors")
        self._script = (
            files("gateway.storage.counting").joinpath("lua", "liken.lua").read_text(encoding="utf-8")
        )
        self._turned = Turned(cipher.derived(b"vectors of the semantic cache"))
        self._told = False
        self._keeping = 0

    def _words(self, what: str, *more: Any) -> tuple[Any, ...]:
        return ("EVAL", self._script, 2, self._order, self._sizes, what, *more)

    def keep(self, passed: Passed) -> None:
        """Keeps a question with its vector, unless Redis still has enough to do with those before it."""
        import numpy as np

        if self._keeping >= _AT_ONCE:
            return
        name = f"{_bucket_of(passed.project, passed.task, passed.bucket)}:{passed.key}"
        sealed = self._cipher.seal(name.encode() + encode(passed))
        vector = np.frombuffer(passed.vector, dtype=np.float32)
        life, beside = max(1, int(passed.ttl * 1000)), OVERHEAD + _LINKS + len(vector)
        turned = self._turned.bytes_of(vector)
        bounds = sealed, life, passed.max_bytes, beside, turned, passed.max_entries
        sent = self._link.send(*self._words("keep", self._prefix + name, *bounds))
        if sent is not None:
            self._keeping += 1
            sent.add_done_callback(self._kept)

    def _kept(self, sent: asyncio.Future[Any]) -> None:
        self._keeping -= 1
        sent.exception()  # a question that is not kept is asked again, and nobody needs to hear of it

    async def nearest(
        self, project: str, task: str, bucket: str, vector: NDArray[np.float32]
    ) -> Passed | None:
        """The likest question of this bucket, or one of the likest; None: there is none, or Redis is away."""
        place = _bucket_of(project, task, bucket)
        words = self._words("nearest", self._prefix + place, self._turned.bytes_of(vector))
        try:
            found = await self._link.ask(*words)
        except Away:
            return None
        if found == b"absent":
            self._missing()
        if not isinstance(found, list) or len(found) != 2:
            return None
        name = found[0].decode(errors="replace").removeprefix(self._prefix)
        passed = passed_in(self._opened(name, found[1]) or b"") if name.startswith(f"{place}:") else None
        # The place names all three already: what is sealed under it is looked at as well.
        wanted = project, task, bucket
        return passed if passed and (passed.project, passed.task, passed.bucket) == wanted else None

    def _missing(self) -> None:
        if not self._told:
            self._told = True
            _log.error(
                "tasks with 'index: redis' reuse nothing: this Redis has no vector sets, which are part of it from"
                " version 8 on"
            )

    def clear(self) -> None:
        self._link.tell(*self._words("clear"))

    async def _forget_places(self, places: list[str]) -> int:
        return int(await self._link.ask(*self._words("forget", *places)))


def _bucket_of(project: str, task: str, bucket: str) -> str:
    """TASK:BUCKET of a place; ``bucket`` is made of project and task already."""
    parts = f"{project}\0{task}", bucket
    return ":".join(sha256(part.encode()).hexdigest() for part in parts)
