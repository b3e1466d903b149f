"""The approximate search: vectors in lists by the nearest of some centroids, of which a look-up reads the few nearest
(Jégou et al., *Product Quantization for Nearest Neighbor Search*, 2011; faiss' IndexIVFFlat, extra ``vectors``).

Lists and not a graph (HNSW), because a cache forgets as often as it learns: a vector leaves its list at once, while
faiss' graph knows no leaving. Nothing is quantized, so every likeness is exact.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from math import isqrt
from typing import TYPE_CHECKING, Any

from gateway.caching.search.matrix import Matrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

FROM = 4000
"""Vectors from which on lists are made: a product with as many takes a quarter of a millisecond."""
_SHARE = 40
"""One list of so many is read for a look-up."""
_ROUNDS = 8
"""Of k-means. Centroids that are a little worse cost a little recall, and no promise."""

_log = logging.getLogger("understudy.caching")
_maker = ThreadPoolExecutor(1, thread_name_prefix="semantic-index")


class Inverted:
    """Exact up to ``begin`` vectors; from then on in lists, made once, in a thread, for ``most`` vectors. What
    comes and goes meanwhile is made up for."""

    def __init__(self, size: int, most: int, begin: int = FROM) -> None:
        self._matrix: Matrix | None = Matrix(size)
        self._size, self._most, self._begin = size, most, begin
        self._lists: Any = None
        self._making: Future[Any] | None = None
        self._since: list[tuple[int, Vector | None]] = []

    @property
    def size(self) -> int:
        return self._size

    @property
    def approximate(self) -> bool:
        self._take_over()
        return self._matrix is None

    @property
    def busy(self) -> bool:
        """Whether its lists are being made."""
        return self._making is not None and not self._making.done()

    def __len__(self) -> int:
        return len(self._matrix) if self._matrix is not None else int(self._lists.ntotal)

    def add(self, number: int, vector: Vector) -> None:
        self._take_over()
        if self._matrix is None:
            _add(self._lists, number, vector)
            return
        self._matrix.add(number, vector)
        if self._making is not None:
            self._since.append((number, vector))
        elif len(self._matrix) >= self._begin:
            self._making = _maker.submit(_made, *self._matrix.copy(), self._most)

    def remove(self, number: int) -> None:
        self._take_over()
        if self._matrix is None:
            _remove(self._lists, number)
            return
        self._matrix.remove(number)
        if self._making is not None:
            self._since.append((number, None))

    def nearest(self, vector: Vector) -> tuple[int, float] | None:
        self._take_over()
        if self._matrix is not None:
            return self._matrix.nearest(vector)
        likeness, numbers = self._lists.search(vector[None], 1)
        return (int(numbers[0, 0]), float(likeness[0, 0])) if numbers[0, 0] >= 0 else None

    def _take_over(self) -> None:
        """From the matrix, once the lists are made; where they could not be, the matrix goes on."""
        if self._making is None or not self._making.done():
            return
        problem = self._making.exception()
        if problem is not None:
            _log.error("no index could be made of %d questions: %s", self._begin, problem)
            self._making, self._since, self._begin = None, [], self._begin * 4
            return
        self._lists, self._making, self._matrix = self._making.result(), None, None
        for number, vector in self._since:
            if vector is None:
                _remove(self._lists, number)
            else:
                _add(self._lists, number, vector)
        self._since = []


def _made(numbers: list[int], vectors: NDArray[np.float32], most: int) -> Any:
    """Runs in a thread; faiss lets others work meanwhile."""
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    count = max(1, min(4 * isqrt(most), len(numbers) // 4))
    lists = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], count, faiss.METRIC_INNER_PRODUCT
    )
    lists.cp.niter, lists.cp.min_points_per_centroid = _ROUNDS, 1
    lists.set_direct_map_type(faiss.DirectMap.Hashtable)
    lists.nprobe = max(4, count // _SHARE)
    lists.train(vectors)
    lists.add_with_ids(vectors, np.array(numbers, dtype=np.int64))
    return lists


def _add(lists: Any, number: int, vector: Vector) -> None:
    import numpy as np

    lists.add_with_ids(vector[None], np.array([number], dtype=np.int64))


def _remove(lists: Any, number: int) -> None:
    import numpy as np

    lists.remove_ids(np.array([number], dtype=np.int64))
