"""Near-identical texts: MinHash signatures (Broder 1997) of their sets of words, found through bands of equal
values (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4) and confirmed by the whole signature.

Numbers are no words, so an order number sets no two texts apart, and neither does the order of words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from optimizer.thin import ALIKE, words
from trainer.datasets.columns import Codes, Tick
from trainer.datasets.spread import AT_ONCE, Spread, here

VALUES, BANDS = 64, 16
"""Of a signature. Two texts that share nine of ten words meet in a band with probability 1 - 3e-8."""


def clusters(texts: Sequence[str], tick: Tick, spread: Spread = here) -> Codes:
    """The cluster of each text: it is near-identical to the oldest text of a band, or to one that is."""
    signatures = spread(signatures_of, texts, lambda done: tick(0.6 * done, "hashing inputs"))
    left: list[NDArray[np.int64]] = []
    right: list[NDArray[np.int64]] = []
    width = VALUES // BANDS
    for band in range(BANDS):
        tick(0.6 + 0.4 * band / BANDS, "comparing near-identical inputs")
        rows, first = _meetings(signatures[:, band * width : (band + 1) * width])
        alike = _alike(signatures, rows, first)
        left.append(rows[alike])
        right.append(first[alike])
    one, other = np.concatenate(left), np.concatenate(right)
    edges = coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=(len(texts), len(texts)))
    labels: Codes = connected_components(edges, directed=False)[1]
    return labels


def signatures_of(texts: Sequence[str]) -> NDArray[np.uint32]:
    """One row of ``VALUES`` for each text: the smallest of its words' hashes, under as many hash functions."""
    factors, shifts = np.random.default_rng(0).integers(1, 2**61, size=(2, VALUES), dtype=np.uint64)
    made = np.empty((len(texts), VALUES), dtype=np.uint32)
    if not texts:
        return made
    found = [words(text) for text in texts]
    known = {word: _number(word) for word in set().union(*found)}
    starts = np.cumsum([0, *(len(one) for one in found[:-1])])
    flat = np.fromiter((known[word] for one in found for word in one), dtype=np.uint64)
    for value in range(VALUES):  # multiply-shift: the upper half of a product modulo 2^64
        hashes = ((flat * (factors[value] | np.uint64(1)) + shifts[value]) >> np.uint64(32)).astype(np.uint32)
        made[:, value] = np.minimum.reduceat(hashes, starts)
    return made


def _number(word: str) -> int:
    """The same for a word wherever and beside whatever others it is met."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014): small numbers become spread ones."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    spread: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return spread


def _meetings(band: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows that have an older row with the same band, the oldest such row of each)."""
    keys = np.zeros(len(band), dtype=np.uint64)
    for value in range(band.shape[1]):
        keys = _mixed(keys ^ band[:, value])
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    new = np.r_[True, ordered[1:] != ordered[:-1]] if len(band) else np.empty(0, dtype=bool)
    oldest = order[np.maximum.accumulate(np.where(new, np.arange(len(band)), 0))]
    return order[~new], oldest[~new]


def _alike(
    signatures: NDArray[np.uint32], rows: NDArray[np.int64], others: NDArray[np.int64]
) -> NDArray[np.bool_]:
    alike = np.empty(len(rows), dtype=bool)
    for start in range(0, len(rows), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        alike[part] = (signatures[rows[part]] == signatures[others[part]]).mean(axis=1) >= ALIKE
    return alike
