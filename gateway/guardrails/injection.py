"""Prompt injection and jailbreaks in what users and tools say, by rules: nothing downloaded, nothing trained."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from gateway.guardrails.guardrail import Guardrail
from gateway.guardrails.injection_rules import matches, structure
from gateway.guardrails.plain import hidden, plain, variants
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, Direction, Scope, Verdict

_HIDDEN = 2.0  # who encodes an instruction does not want it to be seen
_REMEMBERED = 4096  # characters: longer texts are judged afresh, so that the cache stays small


class Injection(Guardrail, frozen=True, tag="injection", tag_field="type"):
    """``action``: block, or flag (recorded on the call, which goes on). ``threshold``: rules' weights that sum
    up to it are an attack; lower catches more and errs more. What the operator writes (system and developer
    messages) is not read: it may well tell a model whom to play."""

    action: Literal["block", "flag"] = "block"
    threshold: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 10:
            raise ValueError("'threshold' must be more than 0 and at most 10.")

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        """Reads requests only: answers pass."""
        if direction == "out" or score(text) < self.threshold:
            return ALLOW
        return BLOCK if self.action == "block" else FLAG

    @property
    def reach(self) -> int:
        """Characters of an answer that have to be seen together: none."""
        return 0

    @property
    def scope(self) -> Scope:
        return "untrusted"


def score(text: str) -> float:
    """The highest sum of weights that any reading of ``text`` reaches. Pure; earlier turns come from a cache."""
    return _remembered(text) if len(text) <= _REMEMBERED else _score(text)


def _score(text: str) -> float:
    extra = sum(weight for _, weight in structure(text))
    folded = plain(text)
    highest = extra + sum(weight for _, weight in matches(folded))
    for reading in variants(folded):
        highest = max(highest, extra + sum(weight for _, weight in matches(reading)))
    for reading in hidden(text):
        highest = max(highest, _HIDDEN * sum(weight for _, weight in matches(reading)))
    return highest


_remembered = lru_cache(maxsize=512)(_score)
