"""What guardrails say of a whole answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from gateway.context import Exchange, WholeAnswer
from gateway.guardrails.verdict import Verdict
from gateway.judges import Judges
from gateway.protocol.lists import dicts
from gateway.stages.guarding.asking import Asking
from gateway.stages.guarding.beside import watch, watching
from gateway.stages.guarding.parts import fixed_in
from gateway.stages.guarding.request import Fixed, Guards, judged, nothing_fixed, settle
from gateway.stages.guarding.texts import Said, names_in, said_by


async def judged_answer(
    exchange: Exchange, guards: Guards, answer: WholeAnswer, judges: Judges
) -> dict[str, list[Verdict]]:
    """What is to be changed, by text. Raises BadRequest for what is blocked."""
    if not any(guard.reach or guard.asks for guard in guards.values()):
        return {}
    messages: list[Any] = [choice.get("message") for choice in dicts(answer.data.get("choices"))]
    said = [one for message in dicts(messages) for one in said_by(message)]
    names = frozenset(one for message in dicts(messages) for one in names_in(message))

    def fixed() -> Collection[Said]:
        return {one for message in dicts(messages) for one in fixed_in(message)}

    return await judge_said(exchange, guards, said, judges, fixed, names)


async def judge_said(
    exchange: Exchange, guards: Guards, said: Sequence[Said], judges: Judges, fixed: Fixed = nothing_fixed,
    names: Collection[Said] = (),
) -> dict[str, list[Verdict]]:  # fmt: skip
    """What is to be changed of what an answer says, by text; ``names``: of functions. Raises BadRequest for what is
    blocked."""
    changes: dict[str, list[Verdict]] = {}
    for name, guard in guards.items():
        if not guard.reach:
            continue
        verdicts = [
            (place, text, judged(exchange, name, guard, text, "out"))
            for place, text in said
            if guard.reads(place) and (guard.reads_names or (place, text) not in names)
        ]
        settle(exchange, name, guard, verdicts, "out", changes, fixed)
    watch(exchange, watching(guards, answers=True), said, "out", judges, names=lambda: names)
    asking = {name: one for name, one in guards.items() if one.asks and one.asked_reach and not one.shadow}
    if asking:
        async with Asking(exchange, asking, "out", judges, fixed, lambda: names) as questions:
            questions.start(said)
            await questions.settle(changes)
    return changes
