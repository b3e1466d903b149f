"""A realtime session under guardrails, event by event in both directions. It lives on whatever is stopped: an event of
the client's, or a response.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from gateway.context import Exchange
from gateway.errors import BadRequest, GatewayError, note_detail
from gateway.judges import Judges
from gateway.protocol.body import decode_object
from gateway.protocol.realtime import (
    DONE,
    TRANSCRIBED,
    TRANSCRIPTION,
    answers_own,
    encoded,
    error_event,
    own_request,
)
from gateway.stages.guarding.request import FailClosed, Guards
from gateway.stages.guarding.sessions import sound
from gateway.stages.guarding.sessions.hearing import Event, Hearing, Known
from gateway.stages.guarding.sessions.provider_events import (
    is_echo,
    items_of,
    kind_of,
    response_of,
    silenced,
    slots_of,
    spoken_parts,
    transcription_of,
)
from gateway.stages.guarding.sessions.speaking import Speaking

Key = tuple[str, ...]
"""What an event is a part of: (response), or (item, part) of what a user's speech is in words; () for neither."""
_ENDS = frozenset({DONE, TRANSCRIBED, TRANSCRIPTION + "failed"})
_MOST_OPEN = 32
"""Responses and transcriptions at the same time."""


@runtime_checkable
class TwoWay(Protocol):
    """A session: its client's side is judged as well as its provider's."""

    guard: SessionGuard | None


@dataclass
class Onward:
    """What becomes of a message: events for the provider and for the client, in order."""

    up: list[str] = field(default_factory=list)
    down: list[str] = field(default_factory=list)


class SessionGuard:
    """The guardrails of one session."""

    def __init__(self, exchange: Exchange, guards: Guards, judges: Judges) -> None:
        self._exchange, self._guards, self._judges = exchange, guards, judges
        self._speaking = Speaking(exchange, guards, judges)
        stopping = any(not one.shadow for one in guards.values())
        self._sound = not stopping or exchange.runtime.config.unjudged_sound == "allow"
        self._known = Known()
        self._hearings: OrderedDict[Key, Hearing] = OrderedDict()
        self._items: dict[str, set[str]] = {}
        """By response that is under way: its items."""
        self._blocked: set[str] = set()
        """Responses and items of which nothing reaches the client."""
        self._aloud: bool | None = None
        """Whether answers are spoken, as far as anybody has said so."""
        self._chosen = False
        """Whether the client has."""

    # ------------------------------------------------------------------ client → provider
    async def said(self, message: str | bytes) -> Onward:
        event: Event = {}
        try:
            event = decode_object(_text(message))
            with FailClosed(self._exchange, "input"):
                return Onward(up=await self._allowed(event))
        except GatewayError as error:
            note_detail(error, self._exchange.request_id)
            return Onward(down=[error_event(error, event.get("event_id"))])

    async def _allowed(self, event: Event) -> list[str]:
        wanted = sound.wants_sound(event.get("session"))
        if not self._sound and (sound.brings_sound(event) or wanted or self._answers_aloud(event)):
            raise sound.refused()
        events = await self._speaking.judged(event)
        if wanted is not None:
            self._aloud, self._chosen = wanted, True
        return events

    def _answers_aloud(self, event: Event) -> bool:
        wanted = sound.wants_sound(event.get("response"))
        if wanted is None and kind_of(event) == "response.create":
            return self._aloud is not False
        return bool(wanted)

    # ------------------------------------------------------------------ provider → client
    async def heard(self, message: str | bytes) -> Onward:
        try:
            event = decode_object(_text(message))
        except GatewayError:
            return Onward(down=[error_event(_unreadable())])
        key: Key = ()
        try:
            with FailClosed(self._exchange, "output"):
                if answers_own(event) or self._speaking.hides(event):
                    return Onward()
                if self._is_blocked(event):
                    return self._silent(event)
                key = self._key(event)
                return Onward(down=[encoded(one) for one in await self._told(event, key)])
        except GatewayError as error:
            note_detail(error, self._exchange.request_id)
            return self._stopped(event, key, error)

    async def _told(self, event: Event, key: Key) -> list[Event]:
        if kind_of(event).startswith("session.") and not self._chosen:
            self._aloud = sound.wants_sound(event.get("session"))
        if not self._sound and sound.is_sound(event):
            raise sound.refused()
        return await self._judged(event, key)

    def _key(self, event: Event) -> Key:
        named = response_of(event)
        if named:
            self._items.setdefault(named, set()).update(items_of(event))
            return (named,)
        if kind_of(event).startswith("conversation.item.") and not is_echo(event):
            for name, items in self._items.items():
                if (name,) in self._hearings and not items.isdisjoint(items_of(event)):
                    return (name,)
        return transcription_of(event)

    async def _judged(self, event: Event, key: Key) -> list[Event]:
        if is_echo(event):
            return [await self._echoed(event)]
        if not key:
            return await self._hearing().push(event, last=True) if slots_of(event) else [event]
        spoken, last = event.get("transcript"), kind_of(event) in _ENDS
        hearing = self._hearings.pop(key, None) or self._hearing()
        if not last:
            self._open(key, hearing)
        leaves = await hearing.push(event, last=last)
        if kind_of(event) == TRANSCRIBED and isinstance(spoken, str):
            with FailClosed(self._exchange, "input"):
                await self._speaking.spoken(spoken)
        if last:
            self._items.pop(key[0], None)
        return leaves

    def _hearing(self) -> Hearing:
        return Hearing(self._exchange, self._guards, self._judges, self._known)

    def _open(self, key: Key, hearing: Hearing) -> None:
        """One that never ends gives way, with what is held back of it."""
        self._hearings[key] = hearing
        if len(self._hearings) > _MOST_OPEN:
            gone, _ = self._hearings.popitem(last=False)
            self._items.pop(gone[0], None)

    async def _echoed(self, event: Event) -> Event:
        """The client's own words as it said them. What the provider heard it say is judged."""
        for part in spoken_parts(event):
            told = {"type": TRANSCRIBED, "transcript": part["transcript"]}
            leaves = await self._hearing().push(told, last=True)
            part["transcript"] = leaves[-1]["transcript"]
        return self._speaking.own_words(event)

    # ------------------------------------------------------------------ what is stopped
    def _stopped(self, event: Event, key: Key, error: GatewayError) -> Onward:
        """The error, and the end of what it is about: a response, or what was said aloud and all that answers it."""
        out = Onward(down=[error_event(error)])
        self._hearings.pop(key, None)
        over = list(key)
        if len(key) > 1:
            self._blocked.add(key[0])
            out.up.append(own_request("conversation.item.delete", item_id=key[0]))
            over = [one[0] for one in self._hearings if len(one) == 1]
        for name in over:
            self._hearings.pop((name,), None)
            self._blocked |= {name, *self._items.get(name, ())}
            if kind_of(event) == DONE and name == response_of(event):
                end = self._silent(event)
                return Onward(up=[*out.up, *end.up], down=[*out.down, *end.down])
            out.up.append(own_request("response.cancel", response_id=name))
        return out

    def _is_blocked(self, event: Event) -> bool:
        if kind_of(event) == "conversation.item.deleted":
            return False
        return response_of(event) in self._blocked or not self._blocked.isdisjoint(items_of(event))

    def _silent(self, event: Event) -> Onward:
        """Of what was blocked nothing reaches the client but its end, and nothing stays in the conversation."""
        named = response_of(event)
        items = self._items.get(named)
        if named not in self._blocked or items is None:
            return Onward()  # its end has been told
        items |= items_of(event)
        self._blocked |= items
        if kind_of(event) != DONE:
            return Onward()
        del self._items[named]
        deleted = [own_request("conversation.item.delete", item_id=one) for one in sorted(items)]
        return Onward(up=deleted, down=[encoded(silenced(event))])


def _text(message: str | bytes) -> bytes:
    """Raises BadRequest for what is no event."""
    if isinstance(message, bytes):
        raise BadRequest("A realtime session that guardrails concern takes events as JSON, in text messages.")
    return message.encode("utf-8", "surrogatepass")


def _unreadable() -> BadRequest:
    return BadRequest(
        "The provider said something that guardrails cannot read, and nothing passes unchecked.",
        code="guardrails_cannot_apply",
    )
