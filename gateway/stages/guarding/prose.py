"""Every text of a request before all guardrails: those that answer at once first, then those that ask others."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.context import Exchange
from gateway.guardrails import Scene
from gateway.guardrails.guardrail import DATA
from gateway.guardrails.verdict import Verdict, changed
from gateway.judges import Judges
from gateway.protocol.lists import dicts
from gateway.stages.guarding.asking import Asking
from gateway.stages.guarding.beside import watch, watching
from gateway.stages.guarding.odd import odd_in
from gateway.stages.guarding.request import Fixed, Guards, judged, project_of, settle
from gateway.stages.guarding.texts import (
    Said,
    fixed_names,
    joined_turns,
    operators_texts,
    plainly_said,
    said_in,
)
from gateway.texts.masking import Masker, map_texts

Changes = dict[str, list[Verdict]]
_Known = dict[tuple[str, str, bool], Verdict]
"""By guardrail, text and whether a tool or a document said it."""
_LONG = 20_000  # characters; a guardrail takes up to a microsecond for one


@dataclass
class Before:
    """What was said earlier in a session that is judged piece by piece. ``masker``: one numbering for all of it;
    ``scene``: what it said, for those who judge a text in its light; ``turns``: the last of what its user said."""

    masker: Masker = field(default_factory=Masker)
    scene: Scene | None = None
    turns: list[str] = field(default_factory=list)
    fixed: Collection[str] = ()
    """Texts that can only be left or stopped, of what is judged now."""


async def masked_prose(
    exchange: Exchange, guards: Guards, prose: dict[str, Any], judges: Judges, before: Before | None = None
) -> dict[str, Any] | None:
    """Judges every text of ``prose`` (a request, or what of it is prose), notes what was found, and returns it
    masked and rewritten: None when it may go as it is. ``before``: what came earlier in a session. Raises BadRequest
    for what is blocked, Unavailable when a guardrail failed."""
    plain = plainly_said(prose)
    said = _said(exchange, prose, plain)
    asking = {name: guard for name, guard in guards.items() if guard.asks and not guard.shadow}
    shadows = watching(guards)
    if asking or shadows or any(guard.needs_scene for guard in guards.values()):
        exchange.scene = _scene(exchange, prose, said, before)
    earlier = before.turns if before is not None else ()
    one_turn = plain is not None and not earlier and [place for place, _ in plain].count("input") < 2
    untrusted = not one_turn and any(guard.scope == "untrusted" for guard in guards.values())
    joined = joined_turns(prose, earlier) if untrusted else ""

    odd = odd_in(prose) if plain is None else []

    def fixed() -> Collection[Said]:
        kept = before.fixed if before is not None else ()
        return frozenset([*fixed_names(prose), *(one for one in said if one[1] in kept)])

    known = await _long_ones(exchange, guards, said, joined)
    changes, seen = _at_once(exchange, guards, [*said, *odd], joined, lambda: {*fixed(), *odd}, known)
    watch(exchange, shadows, said, "in", judges, joined, seen, outside=False, names=fixed)
    if not asking:
        masked = _changed(exchange, prose, said, changes, before) if changes else None
        _watch_outside(exchange, shadows, prose if masked is None else masked, judges, joined, seen, earlier)
        return masked
    async with Asking(exchange, asking, "in", judges, fixed, fixed) as inside:
        inside.start(said, joined, seen, outside=False)
        await inside.settle(changes, changing=True)
        masked = _changed(exchange, prose, said, changes, before) if changes else None
        if any(guard.asks_outside for guard in asking.values()):
            shown = prose if masked is None else masked
            known_by_now = _said(exchange, shown)
            exchange.scene = _scene(exchange, shown, known_by_now, before)
            inside.start(known_by_now, joined_turns(shown, earlier) if joined else "", seen, outside=True)
        _watch_outside(exchange, shadows, prose if masked is None else masked, judges, joined, seen, earlier)
        more: Changes = {}
        await inside.settle(more, changing=False)
    if not more:
        return masked
    return _rewritten(exchange, prose if masked is None else masked, more, Masker())


def _watch_outside(
    exchange: Exchange, shadows: Guards, shown: dict[str, Any], judges: Judges, joined: str, seen: dict[str, set[str]],
    earlier: Sequence[str],
) -> None:  # fmt: skip
    """Asks those in shadow that are on other machines about ``shown``, the request as providers see it."""
    if any(guard.asks_outside for guard in shadows.values()):
        turns = joined_turns(shown, earlier) if joined else ""
        watch(
            exchange, shadows, _said(exchange, shown), "in", judges, turns, seen, outside=True,
            names=lambda: frozenset(fixed_names(shown)),
        )  # fmt: skip


async def _long_ones(exchange: Exchange, guards: Guards, said: list[Said], joined: str) -> _Known:
    """What is said of texts that take long to read: read beside the event loop, so that nobody else waits."""
    long = [one for one in said if len(one[1]) > _LONG]
    if len(joined) > _LONG:
        long.append(("input", joined))
    known: _Known = {}
    for name, guard in guards.items() if long else ():
        for place, text in long:
            if guard.reads(place):
                data = place in DATA
                known[name, text, data] = await asyncio.to_thread(
                    judged, exchange, name, guard, text, "in", data=data
                )
    return known


def _at_once(
    exchange: Exchange, guards: Guards, said: list[Said], joined: str, fixed: Fixed, known: _Known
) -> tuple[Changes, dict[str, set[str]]]:
    """What is to be changed, and by guardrail the texts it has objected to already: those are not asked about."""
    changes: Changes = {}
    seen: dict[str, set[str]] = {}
    for name, guard in guards.items():
        verdicts = [
            (
                place, text,
                known.get((name, text, place in DATA))
                or judged(exchange, name, guard, text, "in", data=place in DATA),
            )
            for place, text in said
            if guard.reads(place)
        ]
        if joined and guard.scope == "untrusted" and guard.reads("input"):
            whole = known.get((name, joined, False)) or judged(exchange, name, guard, joined, "in")
            if whole.action in ("flag", "block"):  # nothing can be cut out of what nobody sent
                verdicts.append(("input", joined, whole))
        settle(exchange, name, guard, verdicts, "in", changes, fixed)
        if guard.asks:
            seen[name] = {text for _, text, verdict in verdicts if verdict.action in ("flag", "block")}
    return changes, seen


def _changed(
    exchange: Exchange, prose: dict[str, Any], said: list[Said], changes: Mapping[str, list[Verdict]],
    before: Before | None,
) -> dict[str, Any]:  # fmt: skip
    masker = Masker() if before is None else before.masker
    for _, text in said:
        masker.reserve(text)
    new = _rewritten(exchange, prose, changes, masker)
    exchange.placeholders = masker.values
    return new


def _scene(exchange: Exchange, prose: Mapping[str, Any], said: list[Said], before: Before | None) -> Scene:
    earlier = before.scene if before is not None else None
    if earlier is None:
        return Scene(prose, tuple(said), project_of(exchange))
    messages = [*dicts(earlier.body.get("messages")), *dicts(prose.get("messages"))]
    return Scene({**earlier.body, **prose, "messages": messages}, (*earlier.said, *said), earlier.project)


def _said(exchange: Exchange, prose: Mapping[str, Any], plain: list[Said] | None = None) -> list[Said]:
    """Every text of a request, and what its caller put into the operator's: whoever does not read those reads it.
    ``plain``: the first, where they are known."""
    return [*(said_in(prose) if plain is None else plain), *(("input", text) for text in exchange.foreign)]


def _rewritten(
    exchange: Exchange, prose: dict[str, Any], changes: Mapping[str, list[Verdict]], masker: Masker
) -> dict[str, Any]:
    if not exchange.foreign:
        return rewritten(prose, changes, masker)
    new = rewritten(prose, where_they_stand(prose, exchange.foreign, changes), masker)
    exchange.foreign = tuple(
        changed(text, changes[text], masker) if text in changes else text for text in exchange.foreign
    )
    return new


def where_they_stand(
    prose: Mapping[str, Any], foreign: Collection[str], changes: Mapping[str, list[Verdict]]
) -> dict[str, list[Verdict]]:
    """``changes``, with those of what is ``foreign`` in texts of the operator's moved to where it stands there."""
    moved = {text: list(verdicts) for text, verdicts in changes.items()}
    for text in dict.fromkeys(operators_texts(prose)):
        for value in foreign:
            at = text.find(value) if value in changes and value != text else -1
            while at >= 0:
                moved.setdefault(text, []).extend(_moved(verdict, at) for verdict in changes[value])
                at = text.find(value, at + len(value))
    return moved


def _moved(verdict: Verdict, by: int) -> Verdict:
    return msgspec.structs.replace(
        verdict,
        changes=tuple((start + by, end + by, what) for start, end, what in verdict.changes),
        puts=tuple((start + by, end + by, what) for start, end, what in verdict.puts),
    )


def rewritten(prose: dict[str, Any], changes: Mapping[str, list[Verdict]], masker: Masker) -> dict[str, Any]:
    new: dict[str, Any] = map_texts(
        prose, lambda text: changed(text, changes[text], masker) if text in changes else text
    )
    return new
