"""OpenAI's moderation API, or another that answers like it, through a configured provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta

from gateway.guardrails.asking import Helpers, NoAnswer
from gateway.guardrails.guardrail import Category, Outside, Rating, Scene
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, Direction, Verdict

_TOGETHER = 32


class Moderation(Outside, frozen=True, tag="moderation", tag_field="type"):
    """``thresholds``: from which score a category is a find; without any, whatever the provider flags. ``categories``:
    only these; empty: all."""

    provider: str
    model: str = "omni-moderation-latest"
    thresholds: dict[Category, Annotated[float, Meta(gt=0, le=1)]] = {}
    categories: list[Category] = []
    action: Literal["block", "flag"] = "block"

    async def ask(
        self, texts: Sequence[str], direction: Direction, helpers: Helpers, scene: Scene
    ) -> list[Verdict]:
        found = BLOCK if self.action == "block" else FLAG
        rated = await self.rated(texts, helpers)
        return [found if any(one.hit for one in ratings.values()) else ALLOW for ratings in rated]

    async def rated(self, texts: Sequence[str], helpers: Helpers) -> list[dict[str, Rating]]:
        rated: list[dict[str, Rating]] = []
        for start in range(0, len(texts), _TOGETHER):
            asked = list(texts[start : start + _TOGETHER])
            answer = await helpers.post(self.provider, self.model, "/moderations", {"input": asked})
            results = answer.get("results")
            if not isinstance(results, list) or len(results) != len(asked):
                raise NoAnswer("the moderation answer does not have one result for each text")
            rated += [self._ratings(result) for result in results]
        return rated

    def _ratings(self, result: Any) -> dict[str, Rating]:
        flags, scores = _mapping(result, "categories"), _mapping(result, "category_scores")
        ratings: dict[str, Rating] = {}
        for category in {*flags, *scores}:
            score = scores.get(category) or 0.0
            if self.categories and category not in self.categories:
                continue
            least = self.thresholds.get(category)  # type: ignore[call-overload]
            hit = (
                (score >= least)
                if least is not None
                else (not self.thresholds and flags.get(category) is True)
            )
            ratings[category] = Rating(float(score), hit=hit)
        return ratings


def _mapping(result: Any, name: str) -> Mapping[str, Any]:
    found = result.get(name) if isinstance(result, dict) else None
    if not isinstance(found, dict):
        raise NoAnswer(f"the moderation answer has no {name}")
    return found
