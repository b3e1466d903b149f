"""Moderation by the guardrails of the policies, told in OpenAI's shape. Nothing leaves the machine."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, get_args

from gateway.context import Exchange
from gateway.errors import GatewayError, Unavailable
from gateway.guardrails import Category, GuardrailSettings, Rating, Scene
from gateway.guardrails.verdict import Verdict
from gateway.judges import Judges
from gateway.masking import texts_of
from gateway.protocol.answer import WholeAnswer
from gateway.stages.guarding.request import Guards, failed, guards_for, judged

MODEL = "guardrails"
CATEGORIES: tuple[str, ...] = get_args(Category)


async def answer_locally(exchange: Exchange, judges: Judges) -> WholeAnswer:
    """One result per text, and one for a list of typed parts, as OpenAI does. Raises Unavailable when no guardrail
    concerns the caller, or one of them fails."""
    guards = {
        name: guard
        for name, guard in guards_for(exchange).items()
        if guard.reads("input") and not guard.shadow
    }
    if not guards:
        raise Unavailable(
            "Moderation is answered by this gateway's guardrails, and none of them reads what you send. "
            "Its operator can add one to 'guardrails:' or 'templates:' in safety.yaml.",
            code="moderations_not_configured",
            headers={"x-should-retry": "false"},
        )
    inputs = _inputs(exchange.body["input"])
    exchange.scene = Scene(exchange.body, tuple(("input", text) for texts in inputs for text in texts))
    results = [await _result(exchange, guards, texts, judges) for texts in inputs]
    shown = exchange.body.get("model") or MODEL
    data = {"id": f"modr-{secrets.token_hex(16)}", "model": shown, "results": results}
    return WholeAnswer(data=data, text="", finish_reason=None, usage=None)


def _inputs(given: str | list[Any]) -> list[list[str]]:
    if isinstance(given, str):
        return [[given]]
    if all(isinstance(one, str) for one in given):
        return [[one] for one in given]
    return [texts_of(given)]


async def _result(exchange: Exchange, guards: Guards, texts: Sequence[str], judges: Judges) -> dict[str, Any]:
    """What is only masked or rewritten raises no flag: that is no reason to turn a text away."""
    found = {name: Rating(0.0, hit=False) for name in CATEGORIES}
    for name, guard in guards.items():
        for category, rating in (await _ratings(exchange, name, guard, texts, judges)).items():
            before = found.get(category, rating)
            found[category] = Rating(max(before.score, rating.score), hit=before.hit or rating.hit)
    return {
        "flagged": any(rating.hit for rating in found.values()),
        "categories": {name: rating.hit for name, rating in found.items()},
        "category_scores": {name: rating.score for name, rating in found.items()},
        "category_applied_input_types": {name: ["text"] for name in found},
    }


async def _ratings(
    exchange: Exchange, name: str, guard: GuardrailSettings, texts: Sequence[str], judges: Judges
) -> dict[str, Rating]:
    """By category, of all texts together. Raises Unavailable when the guardrail failed."""
    try:
        rated = await judges.rated(exchange, name, guard, texts)
        if rated is not None:
            return {
                category: Rating(max(one.score for one in every), hit=any(one.hit for one in every))
                for category in {key for ratings in rated for key in ratings}
                if (every := [ratings[category] for ratings in rated if category in ratings])
            }
        verdicts = [judged(exchange, name, guard, text, "in") for text in texts]
        if guard.asks and exchange.scene is not None and not _hit(verdicts):
            verdicts = await judges.ask(exchange, name, guard, texts, "in", exchange.scene)
    except GatewayError:
        raise
    except Exception as problem:
        failed(exchange, name, guard, "in", problem)
        verdicts = []
    hit = _hit(verdicts)
    return {guard.category or name: Rating(float(hit), hit=hit)}


def _hit(verdicts: Sequence[Verdict]) -> bool:
    return any(verdict.action in ("flag", "block") for verdict in verdicts)
