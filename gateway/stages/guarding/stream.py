"""Guarding a stream: every text of a delta is one channel, judged in a sliding window, changed and unmasked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from msgspec.json import encode

from gateway.context import Chunk, ChunkStream, Exchange
from gateway.guardrails.verdict import BLOCK, Verdict, changed
from gateway.protocol.answer import Pattern, arrived_of, plain_chunk
from gateway.protocol.assemble import REASONING, chunk_text
from gateway.protocol.server_blocks import NAME as SERVER_BLOCKS
from gateway.stages.guarding import positions
from gateway.stages.guarding.changes import Changer, behind
from gateway.stages.guarding.parts import (
    AUDIO,
    COMPLETE,
    NAME,
    THOUGHTS,
    Channel,
    complete_in,
    delta_parts,
    has_more,
    is_json,
    map_delta,
    place_of,
)
from gateway.stages.guarding.queued import QueuedStream
from gateway.stages.guarding.request import FailClosed, Guards, blocked, judged, note
from gateway.stages.guarding.texts import names_in
from gateway.texts.escapes import has_escapes
from gateway.texts.masking import Masker
from gateway.texts.unmasking import Unmasker, unmask

_CONTENT: Channel = (0, "content", 0)
_FIXED = frozenset({AUDIO, NAME})
_CUT_WORD = re.compile(r"^\w+")


class GuardedStream(QueuedStream):
    """A stream, judged and unmasked. A chunk waits only while its end may become a violation."""

    def __init__(
        self, inner: ChunkStream, exchange: Exchange, guards: Guards, *, content_is_json: bool = False
    ) -> None:
        super().__init__(inner)
        self._arrived = arrived_of(inner)
        self._exchange = exchange
        self._guards = {name: guard for name, guard in guards.items() if guard.reach}
        self._reach = max((guard.reach for guard in self._guards.values()), default=0)
        self._content_is_json = content_is_json
        self._windows: dict[Channel, str] = {}
        self._unmaskers: dict[Channel, Unmasker] = {}
        self._changing = {
            name: guard for name, guard in self._guards.items() if guard.changes_answers and not guard.shadow
        }
        self._changers: dict[Channel, Changer] = {}
        self._masker = Masker()
        for placeholder in exchange.placeholders:
            self._masker.reserve(placeholder)
        self._noted: set[tuple[str, str]] = set()
        self._waiting: set[Channel] = set()
        self._complete: set[tuple[Channel, str]] = set()
        self._instead: dict[str, str] = {}
        self._held: list[Chunk] = []
        self._said: dict[int, list[str]] = {}
        """By choice: the content as it came, for what points into it."""
        self._edits: dict[str, tuple[list[positions.Edit], list[positions.Edit]]] = {}

    async def _take(self, chunk: Chunk | None) -> None:
        together = [chunk, *self._arrived()] if chunk is not None else []
        with FailClosed(self._exchange, "output"):
            if together:
                self._feed_all(together)
            else:
                self._end()

    def arrived(self) -> list[Chunk]:
        """What was let through together with the last chunk."""
        chunks = list(self._ready)
        self._ready.clear()
        return chunks

    def _feed_all(self, chunks: list[Chunk]) -> None:
        """Chunks that add to one text and arrived together are judged together."""
        if len(chunks) == 1:
            self._feed(chunks[0])
            return
        for plain, alike in groupby(chunks, key=lambda chunk: chunk.pattern):
            found = list(alike)
            if plain is None or len(found) == 1:
                for chunk in found:
                    self._feed(chunk)
            else:
                self._feed_run(plain, found)

    def _feed_run(self, pattern: Pattern, run: list[Chunk]) -> None:
        text = "".join([chunk.text for chunk in run])
        if self._guards:
            self._judge(_CONTENT, text, final=False)
        if self._exchange.placeholders or self._changing:  # then the texts may not stay where they were cut
            run = [plain_chunk(pattern, text, (encode(text),))]
        self._held += run
        if not self._waiting:
            self._release()

    def _feed(self, chunk: Chunk) -> None:
        if self._guards and chunk.pattern is not None:
            self._judge(_CONTENT, chunk.text, final=False)
        elif self._guards:
            self._judge_chunk(chunk)
        self._held.append(chunk)
        if not self._waiting:
            self._release()

    def _end(self) -> None:
        for channel in list(self._waiting):
            self._judge(channel, "", final=True)
        self._release()
        self._flush()

    def _release(self) -> None:
        held, self._held = self._held, []
        self._ready.extend(self._unmasked(chunk) for chunk in held)

    # ------------------------------------------------------------------ judging
    def _judge_chunk(self, chunk: Chunk) -> None:
        for at, part in delta_parts(chunk.data):
            final = bool(part.get("finish_reason"))

            def judge(channel: Channel, text: str, last: bool = final) -> str:
                self._judge(channel, text, final=last)
                return text

            map_delta(at, part["delta"], judge)
            if has_more(part["delta"]):
                self._judge_complete(at, part["delta"])
            if final:
                for channel in [one for one in self._waiting if one[0] == at]:
                    self._judge(channel, "", final=True)

    def _judge_complete(self, choice: int, delta: Mapping[str, Any]) -> None:
        """What arrives as a whole, once: signed thoughts are told again with each that follows."""
        every = [((choice, NAME, 0), text) for _, text in names_in(delta)]
        every += [((choice, COMPLETE, 0), text) for text in complete_in(delta)]
        for channel, text in every:
            if (channel, text) not in self._complete:
                self._complete.add((channel, text))
                self._judge_text(channel, text, final=True)

    def _judge(self, channel: Channel, text: str, *, final: bool) -> None:
        window = self._windows.get(channel, "") + text
        if self._judge_text(channel, window, final=final):
            self._waiting.add(channel)
        else:
            self._waiting.discard(channel)
        if len(window) > self._reach:
            start = behind(window, len(window), self._reach) if has_escapes(window) else -self._reach
            # What is left of a word that began before the window stands as one word character.
            window = _CUT_WORD.sub("_", window[start:]) if start else window
        self._windows[channel] = window

    def _judge_text(self, channel: Channel, text: str, *, final: bool) -> bool:
        """Whether ``text`` has to wait for more. What is fixed cannot be changed, and is stopped instead."""
        place = place_of(channel)
        in_json = has_escapes(text) and is_json(channel, self._content_is_json)
        fixed, waits = channel[1] in _FIXED, False
        for name, guard in self._guards.items():
            if not guard.reads(place) or (channel[1] == NAME and not guard.reads_names):
                continue
            verdict = judged(self._exchange, name, guard, text, "out", final=final, in_json=in_json)
            if verdict.action == "wait":
                waits = waits or (not guard.shadow and (fixed or name not in self._changing))
            elif verdict.action != "allow":
                if fixed and verdict.action in ("mask", "rewrite"):
                    verdict = BLOCK
                if (name, verdict.action) not in self._noted:
                    self._noted.add((name, verdict.action))
                    note(self._exchange, name, guard, verdict, place, text)
                if verdict.action == "block" and not guard.shadow:
                    raise blocked(name, "out")
        return waits

    # ------------------------------------------------------------------ unmasking
    def _unmasked(self, chunk: Chunk) -> Chunk:
        if not self._exchange.placeholders and not self._changing:
            return chunk
        if chunk.pattern is not None:
            return self._unmasked_plain(chunk, chunk.pattern)
        choices: list[Any] = list(chunk.data.get("choices") or [])
        for position, part in enumerate(choices):
            if isinstance(part, dict) and isinstance(part.get("delta"), dict):
                at = part["index"] if isinstance(part.get("index"), int) else 0
                delta = map_delta(at, part["delta"], self._unmask, self._unmask_complete, self._changed)
                if delta.get(THOUGHTS):
                    self._end_thought(at, delta)
                if delta.get(SERVER_BLOCKS):
                    self._end_text(at, delta)
                delta = self._placed(at, part["delta"], delta)
                if part.get("finish_reason"):
                    self._add_rest(at, delta)
                choices[position] = {**part, "delta": delta}
                if self._changing and part.get("logprobs"):
                    choices[position]["logprobs"] = None  # they spell the text that is held back or changed
        data = {**chunk.data, "choices": choices}
        return Chunk(data, chunk_text(data), chunk.finish_reason, chunk.usage)

    def _unmasked_plain(self, chunk: Chunk, pattern: Pattern) -> Chunk:
        """Most chunks do nothing but add to the content."""
        self._said.setdefault(0, []).append(chunk.text)
        text = self._unmask(_CONTENT, chunk.text)
        return chunk if text == chunk.text else plain_chunk(pattern, text, (encode(text),))

    def _placed(self, choice: int, came: Mapping[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
        """The delta with citations that point to the same words as before, in all of the text that came by now."""
        if isinstance(came.get("content"), str):
            self._said.setdefault(choice, []).append(came["content"])
        if not positions.cites(delta):
            return delta
        said = "".join(self._said.get(choice, ()))
        known = self._edits.get(said)
        if known is None:
            found = self._found(said)
            new = self._changed(said)
            taken, put = positions.judged(said, found, new), positions.restored(new, self._exchange.placeholders)
            known = (taken, put)
            self._edits = {said: known}
        return positions.moved(positions.moved(delta, known[0]), known[1])

    def _unmask(self, channel: Channel, text: str) -> str:
        changer = self._changer(channel)
        return self._unmasker(channel).feed(changer.feed(text) if changer is not None else text)

    def _unmask_complete(self, text: str) -> str:
        return unmask(self._changed(text), self._exchange.placeholders)

    def _changed(self, text: str) -> str:
        """A text that arrived as a whole, as guardrails leave it."""
        new = self._instead.get(text)
        if new is None:
            found = self._found(text)
            if found:
                self._masker.reserve(text)
            new = self._instead[text] = changed(text, found, self._masker) if found else text
        return new

    def _found(self, text: str) -> list[Verdict]:
        """What guardrails take out of a whole text."""
        verdicts = [
            judged(self._exchange, name, guard, text, "out")
            for name, guard in self._changing.items()
            if guard.reads("output")
        ]
        return [one for one in verdicts if one.changes or one.puts]

    def _end_text(self, choice: int, delta: dict[str, Any]) -> None:
        """What a provider's own tools did stands between two texts: what was held back of the first goes before."""
        for channel in [one for one in self._unmaskers if one == (choice, "content", 0)]:
            delta["content"] = (delta.get("content") or "") + self._rest(channel)

    def _end_thought(self, choice: int, delta: dict[str, Any]) -> None:
        """A signature says that a thought is over: what was held back of it goes before."""
        for channel in [one for one in self._unmaskers if one[0] == choice and one[1] in REASONING]:
            delta[channel[1]] = (delta.get(channel[1]) or "") + self._rest(channel)

    def _unmasker(self, channel: Channel) -> Unmasker:
        unmasker = self._unmaskers.get(channel)
        if unmasker is None:
            escaped = is_json(channel, self._content_is_json)
            unmasker = Unmasker(self._exchange.placeholders, in_json=escaped)
            self._unmaskers[channel] = unmasker
        return unmasker

    def _changer(self, channel: Channel) -> Changer | None:
        if not self._changing or channel[1] == AUDIO:
            return None
        changer = self._changers.get(channel)
        if changer is None:
            place = place_of(channel)
            guards = {name: guard for name, guard in self._changing.items() if guard.reads(place)}
            in_json = is_json(channel, self._content_is_json)

            def verdict(name: str, text: str, final: bool) -> Verdict:
                guard = self._changing[name]
                return judged(self._exchange, name, guard, text, "out", final=final, in_json=in_json)

            changer = Changer(guards, self._masker, verdict, in_json=in_json)
            self._changers[channel] = changer
        return changer

    def _rest(self, channel: Channel) -> str:
        unmasker, changer = self._unmaskers[channel], self._changers.get(channel)
        before = unmasker.feed(changer.finish()) if changer is not None else ""
        return before + unmasker.finish()

    def _add_rest(self, choice: int, delta: dict[str, Any]) -> None:
        """Puts what was held back at a choice's end into its last delta."""
        for channel in self._unmaskers:
            rest = self._rest(channel) if channel[0] == choice else ""
            if not rest:
                continue
            _, name, call = channel
            if name in ("tool_calls", "custom"):
                inner = (
                    {"function": {"arguments": rest}} if name == "tool_calls" else {"custom": {"input": rest}}
                )
                delta["tool_calls"] = [*delta.get("tool_calls", ()), {"index": call, **inner}]
            elif name == "function_call":
                delta[name] = {"arguments": rest}
            elif name == AUDIO:
                delta[name] = {**(delta.get(name) or {}), "transcript": rest}
            else:
                delta[name] = (delta.get(name) or "") + rest

    def _flush(self) -> None:
        """A stream that ended without a finish reason still gives what was held back."""
        for choice in sorted({channel[0] for channel in self._unmaskers}):
            delta: dict[str, Any] = {}
            self._add_rest(choice, delta)
            if delta:
                part = {"index": choice, "delta": delta, "finish_reason": None}
                data = {
                    "id": self._exchange.call_id,
                    "object": "chat.completion.chunk",
                    "created": int(self._exchange.received_at),
                    "model": self._exchange.request.model,
                    "choices": [part],
                }
                self._ready.append(Chunk(data, chunk_text(data)))
