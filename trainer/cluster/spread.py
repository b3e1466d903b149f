"""Curation on Ray Data: what looks at one text after the other is done by the cluster, block by block.

What compares calls with each other stays here: it works on numbers of a few bytes a call, not on texts. Steps, counts
and rows are those of one machine, because it is the same code that decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from trainer.certify import code_version
from trainer.cluster.joined import ClusterAway, join
from trainer.datasets.spread import AT_ONCE, Spread, Work, gathered, here


def over(address: str) -> Spread:
    """Work on the texts of a curation, on the cluster at ``address``. Raises ClusterAway when it is called."""
    return _Cluster(address)


def where(address: str | None) -> Spread:
    """On the cluster where there is one, else here."""
    return here if address is None else over(address)


class _Cluster(Struct, frozen=True):
    address: str

    def __call__(self, work: Work, texts: Sequence[str], told: Callable[[float], None]) -> NDArray[Any]:
        """Fewer texts than a block are not worth the way."""
        if len(texts) <= AT_ONCE:
            return here(work, texts, told)
        join(self.address)
        made, done = None, 0
        for rows, found in _blocks(_Task(work, code_version()), texts):
            made = gathered(len(texts), found) if made is None else made
            made[rows] = found
            done += len(rows)
            told(done / len(texts))
        if made is None or done != len(texts):
            raise ClusterAway(f"the cluster gave back {done} of {len(texts)} rows")
        return made


class _Task(Struct, frozen=True):
    """What a machine of the cluster does with a block."""

    work: Work
    version: str

    def __call__(self, block: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if code_version() != self.version:
            raise RuntimeError(f"this machine has another version of understudy than the trainer ({self.version})")
        return {"row": block["row"], "made": self.work([str(text) for text in block["text"]])}


def _blocks(task: _Task, texts: Sequence[str]) -> Any:
    """(the numbers of some texts, their results), as they come. Raises ClusterAway."""
    import pyarrow
    import ray
    from ray import data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data.DataContext.get_current().enable_progress_bars = False
    ranges = [(start, min(start + AT_ONCE, len(texts))) for start in range(0, len(texts), AT_ONCE)]
    tables = [
        pyarrow.table({"row": np.arange(start, end), "text": texts[start:end]}) for start, end in ranges
    ]
    mapped = data.from_arrow(tables).map_batches(task, batch_format="numpy", batch_size=None)
    try:
        for block in mapped.iter_batches(batch_format="numpy", batch_size=None):
            yield block["row"], block["made"]
    except ray.exceptions.RayError as problem:
        cause = str(getattr(problem, "cause", "") or problem).strip().splitlines()[-1]
        raise ClusterAway(f"curation on the cluster broke: {cause}") from None
