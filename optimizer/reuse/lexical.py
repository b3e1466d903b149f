"""Vectors of texts without a model: words and the characters inside them, hashed (Weinberger et al., 2009).

Unit length, so that a dot product is a similarity in [0, 1]. They see spelling, not meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIZE = 1024
_GRAMS = (3, 4)
_WORD_WEIGHT = 1.5
_LONGEST_WORD = 40


def vector(words: tuple[str, ...]) -> NDArray[np.float32]:
    """``words`` in lower case, as of ``optimizer.reuse.wording``. (SIZE,); all zero for no words."""
    import numpy as np

    weights: dict[int, float] = {}
    for word in words:
        spaced = f" {word[:_LONGEST_WORD]} ".encode()
        where = crc32(spaced) % SIZE
        weights[where] = weights.get(where, 0.0) + _WORD_WEIGHT
        for size in _GRAMS:
            for start in range(len(spaced) - size + 1):
                where = crc32(spaced[start : start + size]) % SIZE
                weights[where] = weights.get(where, 0.0) + 1.0
    made = np.zeros(SIZE, dtype=np.float32)
    made[list(weights)] = np.sqrt(list(weights.values()))
    length = float(np.linalg.norm(made))
    return made / np.float32(length) if length else made
