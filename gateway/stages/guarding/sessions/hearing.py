"""One response of a realtime session before the guards of streams: its events as chunks of chat, and back.

Each text of a response is a choice of its own in one stream, so the sliding window, rewriting and the values that are
put back are those of every other stream. An event leaves when the chunk that carries it does.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from gateway.context import Chunk, Exchange
from gateway.judges import Judges
from gateway.protocol.answer import ReadyStream
from gateway.stages.guarding.asked_stream import AskedStream
from gateway.stages.guarding.parts import AUDIO, NAME
from gateway.stages.guarding.request import Guards
from gateway.stages.guarding.sessions.provider_events import ARGUMENTS, Slot, slots_of
from gateway.stages.guarding.stream import GuardedStream

Event = dict[str, Any]
_MOST_KNOWN = 256


class Known:
    """Whole texts that have been judged, and what left in their place: events repeat them, and none is judged twice.
    The last few are kept."""

    def __init__(self) -> None:
        self._texts: OrderedDict[tuple[str, str], str] = OrderedDict()

    def put(self, field: str, text: str, new: str) -> None:
        self._texts[field, text] = new
        if len(self._texts) > _MOST_KNOWN:
            self._texts.popitem(last=False)

    def get(self, field: str, text: str) -> str | None:
        return self._texts.get((field, text))


class _Text:
    """One text of a response: as it ``came``, and what of it has left. ``event`` is the last that added to it."""

    def __init__(self, field: str) -> None:
        self.field = field
        self.came: list[str] = []
        self.left: list[str] = []
        self.event: Event = {}


class Hearing:
    """``known``: the texts of the whole session. What it raises ends it."""

    def __init__(self, exchange: Exchange, guards: Guards, judges: Judges, known: Known) -> None:
        asking = {name: guard for name, guard in guards.items() if guard.asks and guard.asked_reach}
        nothing = ReadyStream([])  # chunks are handed over
        self._asked = AskedStream(nothing, exchange, asking, judges) if asking else None
        self._guarded = GuardedStream(nothing, exchange, guards)
        self._known = known
        self._texts: list[_Text] = []
        self._open: list[int] = []
        self._over: dict[tuple[str, str], int] = {}
        """By field and text: those that are whole."""

    async def push(self, event: Event, *, last: bool = False) -> list[Event]:
        """What leaves once ``event`` is here; ``last``: nothing follows it. Raises BadRequest for what is blocked,
        Unavailable when a guardrail failed."""
        leaves = await self._through(self._chunk(event, last))
        if last:
            leaves += await self._through(None)
        return [one for chunk in leaves for one in self._events(chunk)]

    async def _through(self, chunk: Chunk | None) -> list[Chunk]:
        if self._asked is None:
            return await self._guarded.push(chunk)
        leaves = [one for held in await self._asked.push(chunk) for one in await self._guarded.push(held)]
        return leaves if chunk is not None else leaves + await self._guarded.push(None)

    # ------------------------------------------------------------------ an event as a chunk
    def _chunk(self, event: Event, last: bool) -> Chunk:
        parts: list[Event] = []
        marks: list[tuple[Slot, int]] = []
        for slot in slots_of(event):
            if slot.grows:
                parts.append(self._piece(event, slot, marks))
            else:
                self._whole(event, slot, parts, marks)
        if last:
            parts += [self._end(at) for at in list(self._open)]
        return Chunk({"event": event, "marks": marks, "choices": parts})

    def _piece(self, event: Event, slot: Slot, marks: list[tuple[Slot, int]]) -> Event:
        at = self._growing(event, slot.field)
        text = self._texts[at]
        text.event = event
        text.came.append(slot.text)
        marks.append((slot, at))
        return _part(at, slot.field, slot.text)

    def _growing(self, event: Event, field: str) -> int:
        """The text that ``event`` adds to."""
        where = _where(event)
        for at in self._open:
            text = self._texts[at]
            if text.field == field and text.event.get("type") == event["type"] and _where(text.event) == where:
                return at
        return self._new(field)

    def _whole(self, event: Event, slot: Slot, parts: list[Event], marks: list[tuple[Slot, int]]) -> None:
        """A text that came in pieces, or stood in an event before, is not judged again."""
        said = slot.text
        alike = [
            at for at in self._open if self._texts[at].field == slot.field and "".join(self._texts[at].came) == said
        ]
        if alike:
            at = next((one for one in alike if _where(self._texts[one].event) == _where(event)), alike[0])
            parts.append(self._end(at))
        if (slot.field, said) in self._over:
            marks.append((slot, self._over[slot.field, said]))
            return
        known = self._known.get(slot.field, said)
        if known is not None:
            slot.holder[slot.key] = known
            return
        at = self._new(slot.field)
        self._texts[at].came.append(said)
        parts += [_part(at, slot.field, said), self._end(at)]
        marks.append((slot, at))

    def _new(self, field: str) -> int:
        self._texts.append(_Text(field))
        self._open.append(len(self._texts) - 1)
        return self._open[-1]

    def _end(self, at: int) -> Event:
        text = self._texts[at]
        self._open.remove(at)
        self._over[text.field, "".join(text.came)] = at
        return {"index": at, "delta": {}, "finish_reason": "stop"}

    # ------------------------------------------------------------------ a chunk as events
    def _events(self, chunk: Chunk) -> list[Event]:
        event: Event | None = chunk.data.get("event")
        if event is None:
            return []
        said: dict[int, str] = {}
        for part in chunk.data["choices"]:
            at = part["index"]
            said[at] = said.get(at, "") + _text_of(part["delta"], self._texts[at].field)
        for at, text in said.items():
            self._texts[at].left.append(text)
        pieces = {at for slot, at in chunk.data["marks"] if slot.grows}
        late = {at: text for at, text in said.items() if text and at not in pieces and self._texts[at].event}
        before = [self._rest(at, text) for at, text in late.items()]
        empty = self._put(chunk.data["marks"], said)
        return before if empty else [*before, event]

    def _put(self, marks: list[tuple[Slot, int]], said: Mapping[int, str]) -> bool:
        """Puts what leaves into its event. → whether that would be a piece of nothing."""
        empty = False
        for slot, at in marks:
            text, came = self._texts[at], slot.text
            if slot.grows:
                slot.holder[slot.key] = said[at]
                empty = bool(came) and not said[at]
            elif text.field != NAME:
                slot.holder[slot.key] = "".join(text.left)
                self._known.put(text.field, came, slot.holder[slot.key])
            if slot.text != came and isinstance(slot.holder, dict) and slot.holder.get("logprobs"):
                slot.holder["logprobs"] = None  # they spell the text that is held back or changed
        return empty

    def _rest(self, at: int, rest: str) -> Event:
        """What was held back of a text at its end, as one more piece of it."""
        last = self._texts[at].event
        return {**last, "event_id": "event_" + secrets.token_hex(10), "delta": rest}


def _where(event: Mapping[str, Any]) -> tuple[Any, ...]:
    return event.get("item_id"), event.get("output_index"), event.get("content_index")


def _part(at: int, field: str, text: str) -> Event:
    if field in (ARGUMENTS, NAME):
        delta: Event = {"tool_calls": [{"index": 0, "function": {"arguments" if field == ARGUMENTS else "name": text}}]}
    else:
        delta = {AUDIO: {"transcript": text}} if field == AUDIO else {field: text}
    return {"index": at, "delta": delta, "finish_reason": None}


def _text_of(delta: Mapping[str, Any], field: str) -> str:
    """The inverse of :func:`_part`, but for names."""
    if field == ARGUMENTS:
        return "".join(one["function"].get("arguments", "") for one in delta.get("tool_calls") or ())
    if field == AUDIO:
        return str((delta.get(AUDIO) or {}).get("transcript") or "")
    return str(delta.get(field) or "")
