"""Moderation by the guardrails of the policies, told in OpenAI's shape. Nothing leaves the machine."""

from __future__ import annotations

import secrets
from typing import Any

from gateway.context import Exchange
from gateway.guardrails import Scene
from gateway.judges import Judges
from gateway.protocol.answer import WholeAnswer
from gateway.stages.guarding.rating import moderated, moderators
from gateway.texts.masking import texts_of

MODEL = "guardrails"


async def answer_locally(exchange: Exchange, judges: Judges) -> WholeAnswer:
    """One result per text, and one for a list of typed parts, as OpenAI does. Raises Unavailable when no guardrail
    concerns the caller, or one of them fails."""
    guards = moderators(exchange)
    inputs = _inputs(exchange.body["input"])
    exchange.scene = Scene(exchange.body, tuple(("input", text) for texts in inputs for text in texts))
    results = [await moderated(exchange, guards, texts, judges) for texts in inputs]
    shown = exchange.body.get("model") or MODEL
    data = {"id": f"modr-{secrets.token_hex(16)}", "model": shown, "results": results}
    return WholeAnswer(data=data, text="", finish_reason=None, usage=None)


def _inputs(given: str | list[Any]) -> list[list[str]]:
    if isinstance(given, str):
        return [[given]]
    if all(isinstance(one, str) for one in given):
        return [[one] for one in given]
    return [texts_of(given)]
