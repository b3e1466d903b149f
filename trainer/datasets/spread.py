"""Work on many texts that looks at each of them alone: it may be done here, or cut up and done on a cluster
(``trainer/cluster``). Either way the results are the same, in the order of the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 16_384
Work = Callable[[Sequence[str]], NDArray[Any]]
"""One row of the result for each text, whatever texts stand beside it. A value that another process can be sent."""


class Spread(Protocol):
    def __call__(self, work: Work, texts: Sequence[str], told: Callable[[float], None]) -> NDArray[Any]:
        """``work`` of all texts; ``told`` hears which share is done."""


def here(work: Work, texts: Sequence[str], told: Callable[[float], None]) -> NDArray[Any]:
    """In this process, some at a time."""
    made = gathered(len(texts), work(texts[:AT_ONCE]))
    for start in range(AT_ONCE, len(texts), AT_ONCE):
        told(start / len(texts))
        made[start : start + AT_ONCE] = work(texts[start : start + AT_ONCE])
    return made


def gathered(count: int, first: NDArray[Any]) -> NDArray[Any]:
    """Room for ``count`` rows like those of ``first``, which stand at the front."""
    made = np.empty((count, *first.shape[1:]), dtype=first.dtype)
    made[: len(first)] = first
    return made
