"""Prompt injection and jailbreaks in what users and tools say: by rules, and by a fitted model where one is named."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from gateway.guardrails.guardrail import Guardrail
from gateway.guardrails.injection_rules import matches, structure
from gateway.guardrails.plain import hidden, plain, variants
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, Direction, Scope, Verdict

if TYPE_CHECKING:
    from gateway.guardrails.fitted import Fitted

_HIDDEN = 2.0  # who encodes an instruction does not want it to be seen
_REMEMBERED = 4096  # characters: longer texts are judged afresh, so that the cache stays small


class Injection(Guardrail, frozen=True, tag="injection", tag_field="type"):
    """``action``: block, or flag (recorded on the call, which goes on). ``threshold``: rules' weights that sum
    up to it are an attack; lower catches more and errs more. ``model``: a folder made by ``understudy guards train``,
    asked about what the rules let pass. What the operator writes (system and developer messages) is not read: it may
    well tell a model whom to play."""

    action: Literal["block", "flag"] = "block"
    threshold: float = 1.0
    model: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 10:
            raise ValueError("'threshold' must be more than 0 and at most 10.")
        if self.model is not None:
            try:
                _fitted(self.model)
            except ValueError as problem:
                raise ValueError(f"'model' cannot be used: {problem}") from None

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        """Reads requests only: answers pass."""
        if direction == "out" or not self._is_attack(text):
            return ALLOW
        return BLOCK if self.action == "block" else FLAG

    def _is_attack(self, text: str) -> bool:
        if score(text) >= self.threshold:
            return True
        return self.model is not None and _fitted(self.model).attacks(text)

    @property
    def reach(self) -> int:
        """Characters of an answer that have to be seen together: none."""
        return 0

    @property
    def scope(self) -> Scope:
        return "untrusted"


def _fitted(path: str) -> Fitted:
    from gateway.guardrails.fitted import load  # numpy is loaded only where a model is configured

    return load(path)


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
