"""Guardrails that ask others, all at the same time, each in its time box; settled in the order of the policies."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from types import TracebackType

from gateway.context import Exchange
from gateway.guardrails import Guardrail, Scene
from gateway.guardrails.reading import together
from gateway.guardrails.verdict import ALLOW, Direction, Verdict, spelled_out
from gateway.judges import Judges
from gateway.stages.guarding.request import Fixed, Guards, failed, nothing_fixed, settle
from gateway.stages.guarding.texts import Said
from gateway.texts.escapes import meanings

Judged = list[tuple[Said, Verdict]]
Changes = dict[str, list[Verdict]]
_NOTHING = Scene({}, ())


class Asking:
    """The questions of one call in one direction; a context, so that none outlives it."""

    def __init__(
        self, exchange: Exchange, guards: Guards, direction: Direction, judges: Judges, fixed: Fixed = nothing_fixed,
        names: Fixed = nothing_fixed,
    ) -> None:  # fmt: skip
        self._fixed, self._names = fixed, names
        self._exchange, self._guards, self._direction, self._judges = exchange, guards, direction, judges
        self._asked: dict[str, asyncio.Task[Judged]] = {}

    async def __aenter__(self) -> Asking:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    def start(
        self, said: Sequence[Said], joined: str = "", seen: dict[str, set[str]] | None = None, *,
        outside: bool | None = None,
    ) -> None:  # fmt: skip
        """Asks about ``said`` those that ask outside of this machine, or those that do not; None: all of them.
        ``joined``: the user's turns as one text; ``seen``: what a guardrail has objected to already."""
        for name, guard in self._guards.items():
            if name in self._asked or (outside is not None and guard.asks_outside is not outside):
                continue
            known: Collection[str] = (seen or {}).get(name, ())
            wanted = wanted_by(guard, said, self._direction, joined, known, self._names)
            if wanted:
                asked = asked_about(self._judges, self._exchange, name, guard, wanted, self._direction)
                self._asked[name] = asyncio.create_task(asked)

    async def settle(self, changes: Changes, *, changing: bool | None = None) -> None:
        """Waits for those that may change requests (``changing``), or for the others; None: for all of them. Adds to
        ``changes``. Raises BadRequest for what is blocked, Unavailable when a guardrail failed."""
        for name, guard in self._guards.items():
            early = guard.asks_to_change and not guard.asks_outside
            if changing is not None and early is not changing:
                continue
            task = self._asked.get(name)
            if task is None:
                continue
            try:
                found = await task
            except Exception as problem:
                failed(self._exchange, name, guard, self._direction, problem)
                continue
            verdicts = [(place, text, verdict) for (place, text), verdict in found]
            settle(self._exchange, name, guard, verdicts, self._direction, changes, self._fixed)


def wanted_by(
    guard: Guardrail, said: Sequence[Said], direction: Direction, joined: str, known: Collection[str],
    names: Fixed = nothing_fixed,
) -> list[Said]:  # fmt: skip
    """What ``guard`` is to be asked about: each text once, at the first place where it stands. ``joined`` and
    ``known`` as in :meth:`Asking.start`; ``names``: of functions, which not all read."""
    first: dict[str, Said] = {}
    left_out: Collection[Said] = () if guard.reads_names else names()
    for one in said:
        if one in left_out:
            continue
        place, text = one
        if text not in first and text not in known and guard.reads(place) and text.strip():
            first[text] = one
    if joined and guard.scope == "untrusted" and guard.reads("input") and joined not in known:
        first.setdefault(joined, ("input", joined))
    return [one for text, one in first.items() if guard.asks_about(text, direction)]


async def asked_about(
    judges: Judges, exchange: Exchange, name: str, guard: Guardrail, wanted: Sequence[Said], direction: Direction
) -> Judged:
    """What ``guard`` says of ``wanted``, as they stand and as they are meant, other than allow. Raises as
    ``Judges.ask``."""
    read = [meanings(text) if guard.reads_escapes else () for _, text in wanted]
    texts = [text for _, text in wanted]
    every = [*texts, *(one.text for several in read for one in several)] if any(read) else texts
    verdicts = await judges.ask(exchange, name, guard, every, direction, exchange.scene or _NOTHING)
    if len(verdicts) != len(every):
        raise ValueError(f"{len(verdicts)} verdicts about {len(every)} texts")
    more = iter(verdicts[len(texts) :])
    told = [
        together(text, spelled_out(verdict, text), several, [next(more) for _ in several])
        for text, verdict, several in zip(texts, verdicts, read, strict=False)
    ]
    return [pair for pair in zip(wanted, told, strict=True) if pair[1] != ALLOW]
