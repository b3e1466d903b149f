"""What guardrails have in common that a sorting model judges for: thresholds by label, windows, categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta

from gateway.guardrails.asking import Helpers
from gateway.guardrails.guardrail import WHOLE, Guardrail, Rating, Scene
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, Direction, Verdict

Threshold = Annotated[float, Meta(gt=0, le=1)]


class Scored(Guardrail, frozen=True, kw_only=True):
    """``window``: characters of a streamed answer that are judged together; 0: the whole, at its end."""

    action: Literal["block", "flag"] = "block"
    window: Annotated[int, Meta(ge=0, le=100_000)] = 800

    @property
    def least(self) -> Mapping[str, float]:
        """From which probability each label is a find."""
        return {}

    @property
    def called(self) -> Mapping[str, str]:
        """What a label is called by the moderation API; {}: it finds or does not find, no more."""
        return {}

    @property
    def spec(self) -> dict[str, Any]:
        """The model, as its process takes it."""
        return {}

    @property
    def models(self) -> list[dict[str, Any]]:
        return [self.spec]

    @property
    def asks(self) -> bool:
        return True

    @property
    def asked_reach(self) -> int:
        return self.window or WHOLE

    async def ask(
        self, texts: Sequence[str], direction: Direction, helpers: Helpers, scene: Scene
    ) -> list[Verdict]:
        found = BLOCK if self.action == "block" else FLAG
        scored = await self._scores(texts, helpers)
        return [found if any(one[label] >= least for label, least in self.least.items()) else ALLOW for one in scored]

    async def rated(self, texts: Sequence[str], helpers: Helpers) -> list[dict[str, Rating]] | None:
        if not self.called:
            return None
        return [self._ratings(scores) for scores in await self._scores(texts, helpers)]

    def _ratings(self, scores: Mapping[str, float]) -> dict[str, Rating]:
        """Of several labels under one category the likeliest counts. One without a threshold is no find by itself."""
        ratings: dict[str, Rating] = {}
        for label, category in self.called.items():
            score = scores.get(label)
            if score is None:
                continue
            before = ratings.get(category, Rating(0.0, hit=False))
            hit = score >= self.least.get(label, 2.0)
            ratings[category] = Rating(max(score, before.score), hit=before.hit or hit)
        return ratings

    async def _scores(self, texts: Sequence[str], helpers: Helpers) -> list[Mapping[str, float]]:
        return list(await helpers.model({"spec": self.spec, "questions": list(texts)}))
