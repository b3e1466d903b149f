"""Guardrails in shadow that ask others: they are asked beside the call, and what they say is only recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.context import Exchange
from gateway.guardrails import GuardrailSettings
from gateway.guardrails.verdict import Direction
from gateway.judges import Judges
from gateway.stages.guarding.asking import asked_about, wanted_by
from gateway.stages.guarding.request import Fixed, Guards, failed, nothing_fixed, settle
from gateway.stages.guarding.texts import Said


def watching(guards: Guards, *, answers: bool = False) -> Guards:
    """Those of ``guards`` that ask and only watch; ``answers``: that read answers."""
    return {
        name: guard
        for name, guard in guards.items()
        if guard.asks and guard.shadow and (guard.asked_reach or not answers)
    }


def watch(
    exchange: Exchange, guards: Guards, said: Sequence[Said], direction: Direction, judges: Judges,
    joined: str = "", seen: Mapping[str, set[str]] | None = None, *, outside: bool | None = None,
    names: Fixed = nothing_fixed,
) -> None:  # fmt: skip
    """Asks ``guards`` about ``said`` as ``Asking.start`` does, and returns at once. What is found before the call has
    ended is on it as any other verdict, and follows it afterwards (``Exchange.late``)."""
    for name, guard in guards.items():
        if outside is not None and guard.asks_outside is not outside:
            continue
        wanted = wanted_by(guard, said, direction, joined, (seen or {}).get(name, frozenset()), names)
        if wanted:
            exchange.watched = True
            judges.beside.start(name, _ask(exchange, name, guard, wanted, direction, judges))


async def _ask(
    exchange: Exchange, name: str, guard: GuardrailSettings, wanted: list[Said], direction: Direction, judges: Judges
) -> None:  # fmt: skip
    try:
        found = await asked_about(judges, exchange, name, guard, wanted, direction)
    except Exception as problem:
        failed(exchange, name, guard, direction, problem)  # in shadow: noted, and nothing else
        return
    settle(exchange, name, guard, [(*said, verdict) for said, verdict in found], direction, {})
