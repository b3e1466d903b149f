"""What a text is by the categories of OpenAI's moderation API, as the guardrails of the policies see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from gateway.context import Exchange
from gateway.errors import GatewayError, Unavailable
from gateway.guardrails import Category, GuardrailSettings, Place, Rating
from gateway.guardrails.verdict import Direction, Verdict
from gateway.judges import Judges
from gateway.stages.guarding.request import Guards, failed, guards_for, judged
from gateway.texts.escapes import meanings

CATEGORIES: tuple[str, ...] = get_args(Category)


def moderators(exchange: Exchange, place: Place = "input") -> Guards:
    """The guardrails that concern the caller and read ``place``. Raises Unavailable when there is none."""
    guards = {
        name: guard
        for name, guard in guards_for(exchange).items()
        if guard.reads(place) and not guard.shadow
    }
    if not guards:
        raise Unavailable(
            "Moderation is answered by this gateway's guardrails, and none of them reads what you send. "
            "Its operator can add one to 'guardrails:' or 'templates:' in safety.yaml.",
            code="moderations_not_configured",
            headers={"x-should-retry": "false"},
        )
    return guards


async def moderated(
    exchange: Exchange, guards: Guards, texts: Sequence[str], judges: Judges, direction: Direction = "in"
) -> dict[str, Any]:
    """One result in OpenAI's shape about all texts together. What is only masked or rewritten raises no flag: that is
    no reason to turn a text away. Raises Unavailable when a guardrail failed."""
    found = {name: Rating(0.0, hit=False) for name in CATEGORIES}
    for name, guard in guards.items():
        ratings = await _ratings(exchange, name, guard, texts, judges, direction)
        for category, rating in ratings.items():
            before = found.get(category, rating)
            found[category] = Rating(max(before.score, rating.score), hit=before.hit or rating.hit)
    return {
        "flagged": any(rating.hit for rating in found.values()),
        "categories": {name: rating.hit for name, rating in found.items()},
        "category_scores": {name: rating.score for name, rating in found.items()},
        "category_applied_input_types": {name: ["text"] for name in found},
    }


async def _ratings(
    exchange: Exchange, name: str, guard: GuardrailSettings, texts: Sequence[str], judges: Judges, direction: Direction
) -> dict[str, Rating]:  # fmt: skip
    """By category, of all texts together. Raises Unavailable when the guardrail failed."""
    if guard.reads_escapes:
        texts = [*texts, *(read.text for text in texts for read in meanings(text))]
    try:
        rated = await judges.rated(exchange, name, guard, texts)
        if rated is not None:
            return {
                category: Rating(max(one.score for one in every), hit=any(one.hit for one in every))
                for category in {key for ratings in rated for key in ratings}
                if (every := [ratings[category] for ratings in rated if category in ratings])
            }
        verdicts = [judged(exchange, name, guard, text, direction) for text in texts]
        if guard.asks and exchange.scene is not None and not _hit(verdicts):
            verdicts = await judges.ask(exchange, name, guard, texts, direction, exchange.scene)
    except GatewayError:
        raise
    except Exception as problem:
        failed(exchange, name, guard, direction, problem)
        verdicts = []
    hit = _hit(verdicts)
    return {guard.category or name: Rating(float(hit), hit=hit)}


def _hit(verdicts: Sequence[Verdict]) -> bool:
    return any(verdict.action in ("flag", "block") for verdict in verdicts)
