"""Streams before guardrails that ask others: text leaves only once they have judged it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from msgspec import structs

from gateway.context import Chunk, ChunkStream, Exchange
from gateway.guardrails.guardrail import WHOLE
from gateway.guardrails.verdict import Verdict, changed
from gateway.judges import Judges
from gateway.protocol.assemble import chunk_text
from gateway.stages.guarding import positions
from gateway.stages.guarding.asking import Asking
from gateway.stages.guarding.beside import watch, watching
from gateway.stages.guarding.changes import behind
from gateway.stages.guarding.parts import (
    AUDIO,
    COMPLETE,
    NAME,
    Channel,
    complete_in,
    delta_parts,
    has_more,
    is_json,
    map_delta,
    place_of,
)
from gateway.stages.guarding.queued import QueuedStream
from gateway.stages.guarding.request import FailClosed, Guards
from gateway.stages.guarding.texts import Said, names_in
from gateway.texts.json_places import ends_inside
from gateway.texts.masking import Masker


@dataclass
class _Text:
    """One text of an answer. ``before``: the end of what has left; ``held``: what has not, its last ``fresh``
    characters not yet judged; ``whole``: all of it, kept for those who only watch."""

    before: str = ""
    held: str = ""
    fresh: int = 0
    whole: str = ""
    other: bool = False
    """Whether ``held`` is no longer what its chunks say."""
    in_json: bool = False
    inside: bool = False
    """Whether ``held`` begins within a string of JSON."""
    gone: int = 0
    """How many characters have left."""
    edits: list[list[positions.Edit]] = field(default_factory=list)
    """What each change did to all of the text as it was then."""


class AskedStream(QueuedStream):
    """A guardrail whose reach is a number of characters is asked about the last so many, each time half as many are
    new; one that judges the whole is asked at the end, and all text waits until then. One that only flags, or is in
    shadow, holds nothing back: it is asked about the whole, and waited for before the end unless it is in shadow."""

    def __init__(
        self, inner: ChunkStream, exchange: Exchange, guards: Guards, judges: Judges, *, content_is_json: bool = False
    ) -> None:
        super().__init__(inner)
        self._content_is_json = content_is_json
        self._exchange, self._guards, self._judges = exchange, guards, judges
        self._windowed = {name: one for name, one in guards.items() if one.stops and one.asked_reach < WHOLE}
        self._shadows = watching(guards)
        apart = self._windowed.keys() | self._shadows.keys()
        self._at_end = {name: one for name, one in guards.items() if name not in apart}
        self._until_end = any(guard.stops for guard in self._at_end.values())
        self._watched = bool(self._at_end or self._shadows)
        reaches = [guard.asked_reach for guard in self._windowed.values()]
        self._reach, self._step = max(reaches, default=0), max(1, min(reaches, default=2) // 2)
        self._texts: dict[Channel, _Text] = {}
        self._complete: dict[tuple[tuple[int, str], str], Channel] = {}
        self._new: dict[str, str] = {}
        """What becomes of texts that arrived as a whole."""
        self._held: list[Chunk] = []

    async def _take(self, chunk: Chunk | None) -> None:
        with FailClosed(self._exchange, "output"):
            await self._hold(chunk)

    async def _hold(self, chunk: Chunk | None) -> None:
        over = chunk is None
        if chunk is not None:
            self._held.append(chunk)
            for at, part in delta_parts(chunk.data):
                map_delta(at, part["delta"], self._add)
                if has_more(part["delta"]):
                    self._add_complete(at, part["delta"])
                over = over or bool(part.get("finish_reason"))
        if self._windowed and (over or any(text.fresh >= self._step for text in self._texts.values())):
            await self._judge_windows()
        if chunk is None and self._watched:
            await self._judge_whole()
        waiting = self._windowed and any(text.fresh for text in self._texts.values())
        if chunk is None or not (waiting or self._until_end):
            self._release()

    def _add(self, channel: Channel, text: str) -> str:
        place = place_of(channel)
        if text and any(guard.reads(place) for guard in self._guards.values()):
            found = self._texts.get(channel)
            if found is None:
                found = self._texts[channel] = _Text(in_json=is_json(channel, self._content_is_json))
            found.held += text
            found.fresh += len(text)
            if self._watched:
                found.whole += text
        return text

    def _add_complete(self, choice: int, delta: Mapping[str, Any]) -> None:
        """What arrives as a whole is a channel each, once: signed thoughts are told again with each that follows."""
        every = [((choice, NAME), text) for _, text in names_in(delta)]
        for key in [*every, *(((choice, COMPLETE), text) for text in complete_in(delta))]:
            if key not in self._complete:
                self._complete[key] = (*key[0], len(self._complete))
                self._add(self._complete[key], key[1])

    async def _judge_windows(self) -> None:
        windows: dict[Channel, tuple[str, int]] = {}
        for channel, text in self._texts.items():
            if text.fresh:
                seen = text.before + text.held
                start = behind(seen, len(seen) - text.fresh, self._reach)
                windows[channel] = seen[start:], start - len(text.before)
                text.fresh = 0
        await self._judge(self._windowed, windows)

    async def _judge_whole(self) -> None:
        """Those in shadow are not waited for. Where anybody may stop it, all of a text is still held."""
        said = [(place_of(channel), text.whole) for channel, text in self._texts.items()]
        names = {(place_of(one), text.whole) for one, text in self._texts.items() if one[1] == NAME}
        watch(self._exchange, self._shadows, said, "out", self._judges, names=lambda: names)
        if self._at_end:
            texts = {channel: text.held if self._until_end else text.whole for channel, text in self._texts.items()}
            await self._judge(self._at_end, {channel: (text, 0) for channel, text in texts.items()})

    async def _judge(self, guards: Guards, windows: dict[Channel, tuple[str, int]]) -> None:
        """``windows``: by channel what is asked about, and where in what is held it begins."""
        changes: dict[str, list[Verdict]] = {}

        def of(*kinds: str) -> Collection[Said]:
            return {(place_of(one), text) for one, (text, _) in windows.items() if one[1] in kinds}

        fixed, names = partial(of, AUDIO, NAME), partial(of, NAME)
        async with Asking(self._exchange, guards, "out", self._judges, fixed, names) as questions:
            questions.start([(place_of(channel), text) for channel, (text, _) in windows.items()])
            await questions.settle(changes)
        for channel, (text, start) in windows.items():
            if text in changes:
                self._change(self._texts[channel], changes[text], start)
                if channel[1] == COMPLETE:
                    self._new[text] = self._texts[channel].held

    def _change(self, text: _Text, verdicts: list[Verdict], start: int) -> None:
        """Rewrites what is held. Of a find that has left in part, the rest goes."""
        spans = [(a + start, b + start, what) for one in verdicts for a, b, what in one.changes]
        kept = Verdict("rewrite", tuple((max(a, 0), b, what) for a, b, what in spans if b > 0))
        new = changed(text.held, [kept], Masker(), in_json=text.in_json, inside=text.inside)
        edits = positions.judged(text.held, [kept], new)
        text.edits.append([(text.gone + a, text.gone + b, length) for a, b, length in edits])
        text.held, text.other = new, True

    def _release(self) -> None:
        held, self._held = self._held, []
        for text in self._texts.values():
            text.gone += len(text.held)
        if self._new or any(text.other for text in self._texts.values()):
            held = [self._rewritten(chunk) for chunk in held]
        if any(text.edits for text in self._texts.values()):
            held = [self._placed(chunk) for chunk in held]
        self._ready.extend(held)
        for text in self._texts.values():
            seen = text.before + text.held
            text.before = seen[behind(seen, len(seen), self._reach) :] if self._reach else ""
            if text.in_json:
                text.inside = ends_inside(text.held, inside=text.inside)
            text.held, text.other = "", False

    def _rewritten(self, chunk: Chunk) -> Chunk:
        """The first piece of a changed text carries all of it."""
        choices: list[Any] = list(chunk.data.get("choices") or [])
        for position, part in enumerate(choices):
            if isinstance(part, dict) and isinstance(part.get("delta"), dict):
                at = part["index"] if isinstance(part.get("index"), int) else 0
                delta = map_delta(at, part["delta"], self._instead, self._whole, self._whole)
                choices[position] = {**part, "delta": delta}
        data = {**chunk.data, "choices": choices}
        return Chunk(data, chunk_text(data), chunk.finish_reason, chunk.usage)

    def _placed(self, chunk: Chunk) -> Chunk:
        """The chunk with citations that point to the same words as before all changes so far."""
        choices: list[Any] = list(chunk.data.get("choices") or [])
        for position, part in enumerate(choices):
            delta = part.get("delta") if isinstance(part, dict) else None
            at = part["index"] if isinstance(delta, dict) and isinstance(part.get("index"), int) else 0
            text = self._texts.get((at, "content", 0))
            if text is not None and isinstance(delta, dict) and positions.cites(delta):
                for edits in text.edits:
                    delta = positions.moved(delta, edits)
                choices[position] = {**part, "delta": delta}
        return structs.replace(chunk, own={**chunk.data, "choices": choices})

    def _whole(self, text: str) -> str:
        return self._new.get(text, text)

    def _instead(self, channel: Channel, said: str) -> str:
        text = self._texts.get(channel)
        if text is None or not text.other or not said:
            return said
        out, text.held = text.held, ""
        text.before += out
        if text.in_json:
            text.inside = ends_inside(out, inside=text.inside)
        return out
