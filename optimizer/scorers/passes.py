"""pass@k: would one of k tries have passed?"""

from __future__ import annotations

from math import comb


def pass_at_k(tries: int, passed: int, k: int) -> float:
    """The unbiased estimate from ``tries`` independent tries of which ``passed`` did: 1 − C(n − c, k) / C(n, k)
    (Chen et al., "Evaluating Large Language Models Trained on Code", 2021). Raises ValueError for k > tries."""
    if not 0 <= passed <= tries or not 1 <= k <= tries:
        raise ValueError(f"pass@{k} of {passed} passed in {tries} tries is not defined")
    return 1.0 - comb(tries - passed, k) / comb(tries, k)
