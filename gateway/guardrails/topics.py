"""What is talked about: subjects that are not wanted, or the only ones that are.

A subject is given by examples. Its centre is the mean of their vectors of weighted words (Rocchio, "Relevance Feedback
in Information Retrieval", 1971; inverse document frequency over all the examples given), and a text belongs to the
nearest centre when it is near enough. Words are compared, not meanings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from gateway.guardrails.blocklist import fold, phrase_pattern
from gateway.guardrails.groundedness.sentences import content
from gateway.guardrails.guardrail import WHOLE, Guardrail
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, WAIT, Direction, Scope, Verdict

_SEEN = 20_000  # characters
_FEWEST = 2  # content words, without which nothing is judged

Texts = Annotated[list[str], Meta(min_length=1)]
_Vector = Mapping[str, float]


class Topics(Guardrail, frozen=True, tag="topics", tag_field="type"):
    """``deny`` and ``allow``: examples by subject. ``phrases``: whole phrases that are a denied subject by themselves.
    A text is a find when a denied subject is the nearest and at least ``threshold`` near (cosine); with
    ``only_allowed``, also when no allowed one is that near."""

    deny: dict[str, Texts] = field(default_factory=dict)
    allow: dict[str, Texts] = field(default_factory=dict)
    phrases: list[str] = field(default_factory=list)
    only_allowed: bool = False
    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.2
    action: Literal["block", "flag"] = "block"

    def __post_init__(self) -> None:
        if not (self.deny or self.phrases or self.only_allowed):
            raise ValueError("name subjects under 'deny', phrases, or 'allow' with 'only_allowed: true'.")
        if self.only_allowed and not self.allow:
            raise ValueError("'only_allowed' needs subjects under 'allow'.")

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        if not final:
            return WAIT
        pattern = phrase_pattern(tuple(self.phrases))
        if pattern is not None and pattern.search(fold(text)) is not None:
            return self._find
        terms = content(text[:_SEEN])
        if len(terms) < _FEWEST:
            return ALLOW
        centres, rarity = _centres(msgspec.json.encode((self.deny, self.allow)))
        vector = _unit(terms, rarity)
        near = {kind: max((_dot(vector, one) for one in centres[kind]), default=0.0) for kind in (0, 1)}
        if near[0] >= self.threshold and near[0] > near[1]:
            return self._find
        return self._find if self.only_allowed and near[1] < self.threshold else ALLOW

    @property
    def _find(self) -> Verdict:
        return BLOCK if self.action == "block" else FLAG

    @property
    def scope(self) -> Scope:
        return "untrusted"

    @property
    def reach(self) -> int:
        """An answer is judged as a whole."""
        return WHOLE


@lru_cache(maxsize=64)
def _centres(given: bytes) -> tuple[list[list[dict[str, float]]], dict[str, float]]:
    """Unit centres of the denied and of the allowed subjects, and the weight of each word."""
    sides = msgspec.json.decode(given, type=tuple[dict[str, list[str]], dict[str, list[str]]])
    every = [content(text) for side in sides for texts in side.values() for text in texts]
    counts = Counter(term for terms in every for term in set(terms))
    rarity = {term: math.log((1 + len(every)) / (1 + count)) + 1.0 for term, count in counts.items()}
    made = [
        [_mean([_unit(content(text), rarity) for text in texts]) for texts in side.values()] for side in sides
    ]
    return made, rarity


def _unit(terms: list[str], rarity: _Vector) -> dict[str, float]:
    unknown = max(rarity.values(), default=1.0)
    vector = {
        term: (1 + math.log(count)) * rarity.get(term, unknown) for term, count in Counter(terms).items()
    }
    return _scaled(vector)


def _mean(vectors: list[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for vector in vectors:
        for term, value in vector.items():
            total[term] = total.get(term, 0.0) + value
    return _scaled(total)


def _scaled(vector: dict[str, float]) -> dict[str, float]:
    length = math.sqrt(sum(value * value for value in vector.values())) or 1.0
    return {term: value / length for term, value in vector.items()}


def _dot(left: _Vector, right: _Vector) -> float:
    return sum(value * right.get(term, 0.0) for term, value in left.items())
