"""What a captured answer is worth, out of ten: the least that anybody says about it.

Nobody can lift an answer: a thumbs-up does not outvote a judge, a judge not the answer's own faults. So whoever gives
a thousand thumbs-up buys nothing with them.
"""

from __future__ import annotations

import math

from gateway.storage.values import TrainingCall

SOURCES = ("feedback.score", "judge.score")
"""Entries of a call's metadata: what a client said, what a judge said."""
_LOOP_WORDS, _LOOP_SHARE = 50, 0.2


def rated(call: TrainingCall) -> float | None:
    """The least of the scores that were recorded with a call; None when there is none."""
    if not call.metadata:
        return None
    scores = [score for name in SOURCES if (score := _score(call.metadata.get(name, ""))) is not None]
    return min(scores, default=None)


def _score(said: str) -> float | None:
    """Values in [0, 1] are shares of ten, values up to 10 are taken as they are; None for anything else."""
    try:
        score = float(said)
    except ValueError:
        return None
    if not math.isfinite(score) or not 0 <= score <= 10:
        return None
    return score * 10 if score <= 1 else score


def looks(answer: str) -> float:
    """What an answer's own form says: 10, or less when it is broken (replacement characters where text was lost) or
    runs in circles (50 words or more, of which fewer than a fifth differ)."""
    if "\ufffd" in answer:
        return 4.0
    words = answer.split()
    if len(words) >= _LOOP_WORDS and len(set(words)) < _LOOP_SHARE * len(words):
        return 2.0
    return 10.0
