"""Groundedness by a model of natural-language inference: does the supplied context entail what an answer says?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from gateway.guardrails.asking import Helpers
from gateway.guardrails.guardrail import WHOLE, Guardrail, Place, Scene
from gateway.guardrails.model_folder import check_label, sorter_spec
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, Direction, Verdict

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_MOST = 64
"""Sentences of an answer that are asked about, and texts of context they are held against."""


class Entailment(Guardrail, frozen=True, kw_only=True, tag="entailment", tag_field="type"):
    """``model``: a folder with a sequence-classification model for pairs (premise, hypothesis); ``label``: its word for
    *entails*. A sentence of at least ``words`` words is grounded when one text of ``context`` entails it with
    probability ``least``; a find is an answer of which more than ``ungrounded`` of the sentences are not. A call
    without context passes: there is nothing to hold its answer against."""

    model: str
    label: str = "entailment"
    least: Annotated[float, Meta(gt=0, le=1)] = 0.5
    ungrounded: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    words: Annotated[int, Meta(ge=1, le=100)] = 4
    context: list[Place] = field(default_factory=lambda: ["context", "tool_results"])
    action: Literal["block", "flag"] = "flag"

    def __post_init__(self) -> None:
        try:
            check_label(self.model, self.label)
        except ValueError as problem:
            raise ValueError(f"'model' cannot be used: {problem}.") from None

    def weighs(self, place: Place) -> bool:
        return place in self.context

    @property
    def models(self) -> list[dict[str, Any]]:
        return [sorter_spec(self.model)]

    @property
    def asks(self) -> bool:
        return True

    @property
    def asked_reach(self) -> int:
        return WHOLE

    def asks_about(self, text: str, direction: Direction) -> bool:
        return direction == "out"

    async def ask(
        self, texts: Sequence[str], direction: Direction, helpers: Helpers, scene: Scene
    ) -> list[Verdict]:
        """Raises ValueError for an answer or a context of too many parts: what is not asked about is not grounded."""
        premises = list(dict.fromkeys(text for text in scene.told(*self.context) if text.strip()))
        if not premises:
            return [ALLOW] * len(texts)
        return [await self._verdict(text, premises, helpers) for text in texts]

    async def _verdict(self, text: str, premises: Sequence[str], helpers: Helpers) -> Verdict:
        sentences = [one.strip() for one in _SENTENCE.split(text) if len(one.split()) >= self.words]
        if not sentences:
            return ALLOW
        if len(sentences) > _MOST or len(premises) > _MOST:
            raise ValueError(f"{len(sentences)} sentences and {len(premises)} texts of context are too many")
        pairs = [[premise, sentence] for sentence in sentences for premise in premises]
        scores = await helpers.model({"spec": self.models[0], "questions": pairs})
        entailed = [one[self.label] >= self.least for one in scores]
        per = len(premises)
        missing = sum(not any(entailed[at * per : (at + 1) * per]) for at in range(len(sentences)))
        if missing <= self.ungrounded * len(sentences):
            return ALLOW
        return BLOCK if self.action == "block" else FLAG
