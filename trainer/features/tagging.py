"""A token tagger: which characters of a text belong to which field. Linear features, Viterbi; numpy alone.

Tags are O, B-x and I-x. Each token's tag probabilities come from its own and its neighbours' features; the best
sequence that is well formed (I-x only after B-x or I-x) is found by Viterbi's algorithm (1967).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from trainer.features.terms import MAX_TEXT, Floats
from trainer.features.values import Spot

Array = npt.NDArray[np.float64]
_TOKEN = re.compile(r"\w+|[^\w\s]")
_MAX_TOKENS = 512
_RUNS = re.compile(r"(.)\1+")


def tokens(text: str) -> list[tuple[int, int]]:
    """Start and end of each token: words and single marks; at most the first 512."""
    return [match.span() for match in _TOKEN.finditer(text[:MAX_TEXT])][:_MAX_TOKENS]


def token_terms(text: str, spans: Sequence[tuple[int, int]], context: str = "") -> list[list[str]]:
    """The features of each token, as words. With a ``context`` each stands there twice, alone and together with it:
    what holds in all contexts is learnt once, and what holds in one beside it (Daumé 2007, "frustratingly easy" domain
    adaptation)."""
    words = [text[start:end] for start, end in spans]
    lower = ["<s>", "<s>", *(word.lower()[:40] for word in words), "</s>", "</s>"]
    shapes = ["", "", *map(_shape, words), "", ""]
    found = [_around(lower[i - 2 : i + 3], shapes[i - 1 : i + 2]) for i in range(2, len(words) + 2)]
    return [[*one, *(f"{context}&{term}" for term in one)] for one in found] if context else found


def _around(lower: Sequence[str], shape: Sequence[str]) -> list[str]:
    """The features of a token from the five words and the three shapes around it."""
    before, left, word, right, after = lower
    return [
        "1", f"w={word}", f"w-1={left}", f"w+1={right}", f"w-2={before}", f"w+2={after}",
        f"s={shape[1]}", f"s-1={shape[0]}", f"s+1={shape[2]}", f"ss={shape[0]}|{shape[1]}|{shape[2]}",
        f"b-={left}|{word}", f"b+={word}|{right}", f"c={left}|{right}", f"t-={before}|{left}",
        f"p2={word[:2]}", f"p3={word[:3]}", f"e2={word[-2:]}", f"e3={word[-3:]}", f"ws={left}|{shape[1]}",
    ]  # fmt: skip


def _shape(word: str) -> str:
    plain = "".join(
        "X" if c.isupper() else "x" if c.isalpha() else "9" if c.isdigit() else c for c in word[:40]
    )
    return _RUNS.sub(r"\1+", plain)


def tag_names(fields: Sequence[str]) -> list[str]:
    return ["O", *(f"{mark}-{field}" for field in fields for mark in "BI")]


def tag_numbers(
    spans: Sequence[tuple[int, int]], spots: Sequence[Spot], fields: Sequence[str]
) -> list[int] | None:
    """The tag of each token; None when a spot does not begin and end with tokens."""
    starts = {start: number for number, (start, _) in enumerate(spans)}
    ends = {end: number for number, (_, end) in enumerate(spans)}
    found = [0] * len(spans)
    for start, end, field in spots:
        if start not in starts or end not in ends or field not in fields:
            return None
        first, last = starts[start], ends[end]
        begin = 1 + 2 * list(fields).index(field)
        found[first : last + 1] = [begin] + [begin + 1] * (last - first)
    return found


def columns_of(terms: Sequence[Sequence[str]], vocabulary: dict[str, int]) -> list[list[int]]:
    return [[vocabulary[term] for term in one if term in vocabulary] for one in terms]


def log_probabilities(
    rows: Sequence[Sequence[int]], coefficients: Floats, bias: Floats, more: Floats | None = None
) -> Array:
    """(tokens, tags) from the columns of each token; ``more`` (tokens, tags): what else speaks for a tag."""
    logits = np.array([coefficients[list(row)].sum(axis=0) for row in rows], dtype=np.float64) + bias
    if more is not None:
        logits += more
    return normalised(logits)


def normalised(logits: Array) -> Array:
    top = logits.max(axis=1, keepdims=True)
    result: Array = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return result


def viterbi(scores: Array) -> list[int]:
    """The well-formed tag sequence with the largest sum; ``scores``: (tokens, tags), tags as ``tag_names``."""
    count = scores.shape[1]
    allowed = np.zeros((count, count))
    for inside in range(2, count, 2):
        allowed[:, inside] = -np.inf
        allowed[[inside - 1, inside], inside] = 0.0
    best = scores[0].copy()
    best[2::2] = -np.inf
    back = np.zeros(scores.shape, dtype=np.int64)
    for number in range(1, len(scores)):
        reach = best[:, None] + allowed
        back[number] = reach.argmax(axis=0)
        best = reach.max(axis=0) + scores[number]
    path = [int(best.argmax())]
    for number in range(len(scores) - 1, 0, -1):
        path.append(int(back[number, path[-1]]))
    return path[::-1]


def decode(
    spans: Sequence[tuple[int, int]], scores: Array, fields: Sequence[str]
) -> tuple[list[Spot], float]:
    """The spots of the best sequence and the logarithm of its probability."""
    if not spans:
        return [], 0.0
    path = viterbi(scores)
    found: list[Spot] = []
    for (start, end), tag in zip(spans, path, strict=True):
        if tag == 0:
            continue
        if tag % 2 == 1:
            found.append((start, end, fields[(tag - 1) // 2]))
        else:
            found[-1] = (found[-1][0], end, found[-1][2])
    return found, float(scores[np.arange(len(path)), path].sum())


def limited(scores: Array, fields: Sequence[str], wanted: Collection[str]) -> Array:
    """``scores`` (tokens, tags) in which no span is found but those of ``wanted`` fields."""
    if len(wanted) == len(fields) or not len(scores):
        return scores
    scores = scores.copy()
    for number, field in enumerate(fields):
        if field not in wanted:
            scores[:, 1 + 2 * number : 3 + 2 * number] = -np.inf
    return scores
