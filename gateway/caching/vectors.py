"""Questions as vectors of length one, off the event loop where that takes long."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

from optimizer.reuse import lexical
from optimizer.reuse.wording import Wording

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

_log = logging.getLogger("understudy.caching")
_WAITING = 32
"""Questions that may wait for the encoder; one more is simply a miss."""
_PATIENCE_S = 2.0


class Vectors:
    """Lexical vectors are made here; those of encoders in one process of its own, which starts with the first question
    and loads each folder once. An encoder that fails, or is too slow, means a miss."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._waiting = 0
        self._refused: set[str] = set()

    async def of(self, text: str, said: Wording, encoder: str | None) -> Vector | None:
        if encoder is None:
            return lexical.vector(said.words)
        if self._waiting >= _WAITING or encoder in self._refused:
            return None
        self._waiting += 1
        try:
            return await asyncio.wait_for(self._encoded(text, encoder), _PATIENCE_S)
        except TimeoutError:
            return None
        finally:
            self._waiting -= 1

    async def _encoded(self, text: str, encoder: str) -> Vector | None:
        import numpy as np

        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            problem, made = await asyncio.get_running_loop().run_in_executor(
                self._pool, _embed, encoder, text
            )
        except BrokenExecutor:
            _log.warning(
                "the process of the semantic cache's encoder died; it starts again with the next question"
            )
            self._pool = None
            return None
        if problem:
            self._refused.add(encoder)
            _log.error("the semantic cache is off for its encoder: %s", problem)
            return None
        return np.frombuffer(made, dtype=np.float32)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _embed(folder: str, text: str) -> tuple[str, bytes]:
    """Runs in the encoder's process: (what is wrong, the vector's bytes)."""
    from gateway.local_models.encoder import EncoderRefused, load

    try:
        return "", load(folder).embed([text])[0].tobytes()
    except EncoderRefused as refused:
        return str(refused), b""
