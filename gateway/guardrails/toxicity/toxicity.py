"""Toxic language, by a list of words and turns of phrase, or by a model fitted on the operator's own examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from gateway.guardrails.asking import Helpers
from gateway.guardrails.guardrail import Guardrail, Rating
from gateway.guardrails.plain import plain, variants
from gateway.guardrails.toxicity.words import weights
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, Direction, Scope, Verdict

if TYPE_CHECKING:
    from gateway.guardrails.injection.fitted import Fitted

BUILTIN = "builtin"
_REACH = 400
_LONGEST = 20_000  # characters that are read


class Toxicity(Guardrail, frozen=True, tag="toxicity", tag_field="type"):
    """``model``: builtin (a hand-written English list: a beginning), or a folder made by ``understudy guards train`` on
    examples labelled ``toxic``. ``threshold``: the score, from 0 to 1, from which a text is a find; the folder's own
    threshold stands at 0.5."""

    model: str = BUILTIN
    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    action: Literal["block", "flag"] = "flag"

    def __post_init__(self) -> None:
        if self.model == BUILTIN:
            listed("")  # compiles its patterns: no request waits for them
        else:
            try:
                _fitted(self.model)
            except ValueError as problem:
                raise ValueError(f"'model' cannot be used: {problem}") from None

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        if self.score(text) < self.threshold:
            return ALLOW
        return BLOCK if self.action == "block" else FLAG

    def score(self, text: str) -> float:
        """From 0 to 1; not a probability."""
        if self.model == BUILTIN:
            return listed(text[:_LONGEST])
        fitted = _fitted(self.model)
        above = max(
            score - head.threshold
            for score, head in zip(fitted.scores(text[:_LONGEST]), fitted.manifest.heads, strict=True)
        )
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, above))))

    async def rated(self, texts: Sequence[str], helpers: Helpers) -> list[dict[str, Rating]] | None:
        category = self.category or "harassment"
        scores = [self.score(text) for text in texts]
        return [{category: Rating(score, hit=score >= self.threshold)} for score in scores]

    @property
    def scope(self) -> Scope:
        return "untrusted"

    @property
    def reach(self) -> int:
        """Characters of an answer that have to be seen together."""
        return _REACH


@lru_cache(maxsize=512)
def listed(text: str) -> float:
    """The score by the list: 0.5 for weights of one, towards 1 for more. Pure."""
    folded = plain(text)
    total = max(sum(weight for _, weight in weights(reading)) for reading in (folded, *variants(folded)))
    return 1 - 0.5 ** max(total, 0.0)


def _fitted(path: str) -> Fitted:
    from gateway.guardrails.injection.fitted import load  # numpy is loaded only where a model is configured

    return load(path)
