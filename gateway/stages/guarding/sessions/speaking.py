"""What a session's client says, judged before it goes on."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Any

from gateway.context import Exchange
from gateway.judges import Judges
from gateway.protocol.realtime import encoded, own_request
from gateway.stages.guarding.odd import judge_labels
from gateway.stages.guarding.prose import Before, masked_prose
from gateway.stages.guarding.request import Guards, project_of
from gateway.stages.guarding.sessions.client_events import labels_of, prose_of, renewed, with_texts
from gateway.stages.guarding.sessions.files import enclosed_in, with_words
from gateway.stages.guarding.sessions.remembered import Remembered, add_turns
from gateway.texts.enclosed import closed_again
from gateway.texts.json_places import is_json
from gateway.texts.masking import map_texts
from gateway.texts.unmasking import unmask

Event = dict[str, Any]
_MOST_PREPARED = 64


class Speaking:
    """One session's. ``before`` is what it has said by now."""

    def __init__(self, exchange: Exchange, guards: Guards, judges: Judges) -> None:
        self._exchange, self._guards, self._judges = exchange, guards, judges
        self._before, self._remembered = Before(), Remembered()
        self._in_its_light = any(one.needs_scene or one.asks for one in guards.values())
        self._prepared: OrderedDict[str, str] = OrderedDict()
        """By text that a guardrail prepared: what it was."""
        self._notes: dict[str, str] = {}
        """By item: the sentences that guardrails put into the conversation."""
        self._behind: dict[str, Any] = {}
        """By such an item: the one before it."""

    async def judged(self, event: Event) -> list[str]:
        """The events that go to the provider. Raises BadRequest for what is blocked, Unavailable when a guardrail
        failed."""
        prose = prose_of(event)
        judge_labels(self._exchange, self._guards, labels_of(event))
        masked = await self._masked(prose, self._guards)
        ready, notes = self._made_ready(masked)
        self._remember(ready, standing="session" in event)
        return [*notes, encoded(with_texts(event, renewed(prose, ready)))]

    async def spoken(self, text: str) -> None:
        """What the user said aloud is judged like what it writes, by those who have not judged it as it came. It has
        been heard, so nothing in it is changed."""
        guards = {name: one for name, one in self._guards.items() if not (one.asks and one.asked_reach)}
        prose = {"messages": [{"role": "user", "content": text}]}
        self._remember(await self._masked(prose, guards), standing=False)

    async def _masked(self, prose: Event, guards: Guards) -> Event:
        words = with_words(self._exchange, guards, prose)
        self._before.fixed = enclosed_in(prose, words)
        try:
            masked = await masked_prose(self._exchange, guards, words, self._judges, self._before)
        finally:
            self._exchange.scene = self._before.scene
        return prose if masked is None else closed_again(prose, words, masked)

    def _remember(self, prose: Event, *, standing: bool) -> None:
        add_turns(self._before.turns, prose)
        if self._in_its_light:
            self._remembered.add(prose, standing=standing)
            self._before.scene = self._exchange.scene = self._remembered.scene(project_of(self._exchange))

    # ------------------------------------------------------------------ what guardrails prepare
    def _made_ready(self, prose: Event) -> tuple[Event, list[str]]:
        """``prose`` as guardrails prepare it, and what goes before it: a sentence for a system message that is not
        there becomes an item of its own."""
        new, notes = prose, []
        for guard in self._guards.values():
            if not guard.prepares or guard.shadow:
                continue
            more = guard.prepared(new)
            if len(more["messages"]) > len(new["messages"]):
                notes += self._note(more["messages"][0]["content"])
                more = {**more, "messages": more["messages"][1:]}
            new = more
        for before, after in renewed(prose, new).items():
            self._prepared[after] = before
            if len(self._prepared) > _MOST_PREPARED:
                self._prepared.popitem(last=False)
        return new, notes

    def _note(self, sentence: str) -> list[str]:
        """The system message that says ``sentence``, once in a session."""
        if sentence in self._notes.values():
            return []
        name = "item_" + secrets.token_hex(10)
        self._notes[name] = sentence
        content = [{"type": "input_text", "text": sentence}]
        item = {"id": name, "type": "message", "role": "system", "content": content}
        return [own_request("conversation.item.create", item=item)]

    def hides(self, event: Event) -> bool:
        """Whether a provider's event is about such a sentence. Others no longer say that they come behind it."""
        if not self._notes:
            return False
        item = event.get("item")
        if isinstance(item, dict) and item.get("id") in self._notes:
            self._behind.setdefault(item["id"], event.get("previous_item_id"))
            return True
        if event.get("previous_item_id") in self._notes:
            event["previous_item_id"] = self._behind.get(event["previous_item_id"])
        return False

    # ------------------------------------------------------------------ what comes back
    def own_words(self, event: Event) -> Event:
        """An event that repeats what the client said, with its own values and without what was prepared."""
        values = self._exchange.placeholders

        def own(text: str) -> str:
            said = self._prepared.get(text, text)
            return unmask(said, values, in_json=is_json(said))

        back: Event = map_texts(event, own)
        return back


