"""What a model is judged on must not be what it learnt: judged texts that stand in the training material, too.

Captured calls are split by the hash of their group (:mod:`trainer.datasets.split`), so that none lies on both sides;
here what comes as files of their own is held against each other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from optimizer.thin import words
from trainer.datasets.near import clusters

_SPACE = re.compile(r"\s+")
_FEWEST_WORDS = 8
"""Of fewer words a text is alike to too many others: then only the same text counts as the same."""


def known(judged: Sequence[str], learnt: Sequence[str]) -> list[bool]:
    """Of each judged text, whether it was learnt: the same text (case and spacing aside, by its SHA-256), or a
    near-identical one."""
    hashes = {_digest(text) for text in learnt}
    found = [_digest(text) in hashes for text in judged]
    long = [at for at, text in enumerate(judged) if not found[at] and len(words(text)) >= _FEWEST_WORDS]
    if long and learnt:
        labels = clusters([*learnt, *(judged[at] for at in long)], lambda *_: None)
        taken = set(labels[: len(learnt)].tolist())
        for at, label in zip(long, labels[len(learnt) :].tolist(), strict=True):
            found[at] = label in taken
    return found


def _digest(text: str) -> bytes:
    return hashlib.sha256(_SPACE.sub(" ", text.casefold()).strip().encode("utf-8", "surrogatepass")).digest()
