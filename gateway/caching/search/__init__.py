"""How the nearest vector of a bucket is found: one file for each way, all of them one ``Search``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.caching.search.inverted import Inverted
from gateway.caching.search.matrix import Matrix
from gateway.config import Way

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ELSEWHERE", "Search", "Way", "search_by"]

ELSEWHERE: tuple[Way, ...] = ("redis", "pgvector")
"""Ways that search outside: no worker holds those questions."""


class Search(Protocol):
    """Vectors of one bucket, all of length one and of ``size`` values, under numbers that are never used again.

    A neighbour that is missed costs a hit and no more: whichever is named, its likeness is its own, and the score,
    the guards and the proof of ``optimizer.reuse.trust`` judge the pair that is proposed.
    """

    @property
    def size(self) -> int: ...

    def __len__(self) -> int: ...

    def add(self, number: int, vector: NDArray[np.float32]) -> None: ...

    def remove(self, number: int) -> None: ...

    def nearest(self, vector: NDArray[np.float32]) -> tuple[int, float] | None:
        """(number, dot product) of the likest vector, or of one of the likest; None: there is none, or none was
        found."""


def search_by(way: Way, size: int, most: int) -> Search:
    """An empty one for vectors of ``size`` values, ``most`` of them."""
    return Inverted(size, most) if way == "faiss" else Matrix(size)
