"""Moderation by the guardrails of the policies, told in OpenAI's shape. Nothing leaves the machine."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, get_args

from gateway.context import Exchange
from gateway.errors import Unavailable
from gateway.guardrails import Category
from gateway.masking import texts_of
from gateway.protocol.answer import WholeAnswer
from gateway.stages.guard_request import Guards, guards_for, judged

MODEL = "guardrails"
CATEGORIES: tuple[str, ...] = get_args(Category)


def answer_locally(exchange: Exchange) -> WholeAnswer:
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
    results = [_result(exchange, guards, texts) for texts in _inputs(exchange.body["input"])]
    shown = exchange.body.get("model") or MODEL
    data = {"id": f"modr-{secrets.token_hex(16)}", "model": shown, "results": results}
    return WholeAnswer(data=data, text="", finish_reason=None, usage=None)


def _inputs(given: str | list[Any]) -> list[list[str]]:
    if isinstance(given, str):
        return [[given]]
    if all(isinstance(one, str) for one in given):
        return [[one] for one in given]
    return [texts_of(given)]


def _result(exchange: Exchange, guards: Guards, texts: Sequence[str]) -> dict[str, Any]:
    """What is only masked or rewritten raises no flag: that is no reason to turn a text away."""
    found = dict.fromkeys(CATEGORIES, False)
    for name, guard in guards.items():
        category = guard.category or name
        hit = any(judged(exchange, name, guard, text, "in").action in ("flag", "block") for text in texts)
        found[category] = found.get(category, False) or hit
    return {
        "flagged": any(found.values()),
        "categories": found,
        "category_scores": {name: float(hit) for name, hit in found.items()},
        "category_applied_input_types": {name: ["text"] for name in found},
    }
