"""Rendezvous hashing: the same caller meets the same candidate, and a change of candidates moves only those
callers whose candidate went, or who fall to the new one.

Thaler, Ravishankar, "Using name-based mappings to increase hit rates" (1998); with weights: Schindelhauer,
Schomaker, "Weighted distributed hash tables" (2005).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from optimizer.routing.plan import Candidate


def rendezvous(key: str, candidates: Sequence[Candidate], weights: Sequence[float]) -> int:
    """The index of the candidate that ``key`` belongs to; over all keys each gets its share of the weight.

    ``weights`` are not negative and not all zero.
    """
    best, most = 0, -math.inf
    for index, (candidate, weight) in enumerate(zip(candidates, weights, strict=True)):
        if weight <= 0:
            continue
        score = -weight / math.log(_uniform(key, candidate))
        if score > most:
            best, most = index, score
    return best


def _uniform(key: str, candidate: Candidate) -> float:
    """In (0, 1), both ends excluded, so that its logarithm is finite and not zero."""
    digest = hashlib.blake2b(f"{candidate.name}\0{key}".encode(), digest_size=7).digest()
    return (int.from_bytes(digest, "big") + 1) / (2**56 + 2)
