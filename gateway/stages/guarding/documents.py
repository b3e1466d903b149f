"""PDFs and Office documents in a request, before its guardrails: what they say is judged where they stand.

They are read by a process of their own (``gateway.retrieval.documents``), and only where a guardrail reads such a
place. A call waits for that unless all of those are in shadow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.context import Exchange, Finding
from gateway.errors import BadRequest
from gateway.guardrails import GuardrailSettings, Place
from gateway.guardrails.guardrail import DATA
from gateway.judges import Judges
from gateway.retrieval.enclosed_documents import EnclosedDocuments
from gateway.retrieval.reading import NotRead
from gateway.stages.guarding.asking import asked_about
from gateway.stages.guarding.request import Guards, failed, judged, note_finding, project_of, settle
from gateway.stages.guarding.texts import said_in
from gateway.texts.enclosed import read_of, saying

_MARK = "data:text/plain;charset=utf-8,document "
_INSTEAD = (
    "Send the document's text instead, or let the gateway's operator say 'unread_documents: allow' for this guardrail."
)
Standing = dict[str, list[Place]]
"""Where each document stands, by its ``file_data``."""


async def with_documents(
    exchange: Exchange, guards: Guards, words: dict[str, Any], found: Sequence[str], reader: EnclosedDocuments,
    judges: Judges,
) -> dict[str, Any]:  # fmt: skip
    """``words`` with the documents ``found`` in it as what they say, as far as a guardrail reads them. Raises
    BadRequest for one that cannot be read."""
    standing = _standing(words, found)
    concerned = {
        data: {name: one for name, one in guards.items() if one.judges_documents(places)}
        for data, places in standing.items()
    }
    waited = [data for data, some in concerned.items() if _is_waited_for(guards, some, standing[data])]
    _watch(exchange, {data: some for data, some in concerned.items() if data not in waited}, standing, reader, judges)
    texts = await asyncio.gather(*[_text(exchange, reader, data) for data in waited])
    said: dict[str, str] = {}
    for data, text in zip(waited, texts, strict=True):
        if isinstance(text, NotRead):
            for name, guard in concerned[data].items():
                unread(exchange, name, guard, _first(guard, standing[data]), text)
        else:
            said[data] = text
    exchange.documents = frozenset(said.values())
    return saying(words, said)


def _is_waited_for(guards: Guards, concerned: Guards, places: Sequence[Place]) -> bool:
    """Whether the call depends on what a document says: on its way in, or when its answer is held against it."""
    return any(not guard.shadow for guard in concerned.values()) or any(
        not guard.shadow and guard.weighs(place) for guard in guards.values() for place in places
    )


def _standing(words: dict[str, Any], found: Sequence[str]) -> Standing:
    """A mark stands for each, so that it is found by whoever knows where texts stand."""
    marks = {data: f"{_MARK}{number}" for number, data in enumerate(dict.fromkeys(found))}
    places: Standing = {data: [] for data in marks}
    by_mark = {mark: data for data, mark in marks.items()}
    for place, text in said_in(saying(words, marks)):
        if text in by_mark:
            places[by_mark[text]].append(place)
    return {data: standing for data, standing in places.items() if standing}


def _first(guard: GuardrailSettings, places: Sequence[Place]) -> Place:
    return next(place for place in places if guard.judges_documents([place]))


async def _text(exchange: Exchange, reader: EnclosedDocuments, data: str) -> str | NotRead:
    remaining = exchange.deadline - time.monotonic()
    bounds = exchange.runtime.config.vector_stores
    try:
        return read_of(data, await reader.text(data, project_of(exchange), bounds, remaining=remaining))
    except NotRead as problem:
        return problem


def unread(exchange: Exchange, name: str, guard: GuardrailSettings, place: Place, problem: NotRead) -> None:
    """Notes that a guardrail could not look into a document. Raises BadRequest unless its settings let that pass."""
    passes = guard.shadow or guard.unread_documents == "allow"
    action = "unread-allow" if passes else "unread-block"
    note_finding(exchange, Finding(name, action, place, shadow=guard.shadow, sample=""))
    if not passes:
        why = f"a document in it cannot be read. {problem} {_INSTEAD}"
        raise BadRequest(f"The request was blocked by the guardrail '{name}': {why}", code="guardrail_blocked")


def _watch(
    exchange: Exchange, concerned: Mapping[str, Guards], standing: Standing, reader: EnclosedDocuments, judges: Judges
) -> None:  # fmt: skip
    """Has the documents that only guardrails in shadow judge read beside the call."""
    for data, some in concerned.items():
        for name, guard in some.items():
            exchange.watched = True
            judges.beside.start(name, _beside(exchange, name, guard, data, standing[data], reader, judges))


async def _beside(
    exchange: Exchange, name: str, guard: GuardrailSettings, data: str, places: Sequence[Place],
    reader: EnclosedDocuments, judges: Judges,
) -> None:  # fmt: skip
    text = await _text(exchange, reader, data)
    place = _first(guard, places)
    if isinstance(text, NotRead):
        unread(exchange, name, guard, place, text)
        return
    verdict = await asyncio.to_thread(judged, exchange, name, guard, text, "in", data=place in DATA)
    settle(exchange, name, guard, [(place, text, verdict)], "in", {})
    if not guard.asks or verdict.action in ("flag", "block"):
        return
    try:
        found = await asked_about(judges, exchange, name, guard, [(place, text)], "in")
    except Exception as problem:
        failed(exchange, name, guard, "in", problem)  # in shadow: noted, and nothing else
        return
    settle(exchange, name, guard, [(*said, verdict) for said, verdict in found], "in", {})
