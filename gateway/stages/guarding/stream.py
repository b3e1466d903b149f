"""Guarding a stream: every text of a delta is one channel, judged in a sliding window, changed and unmasked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

from gateway.context import Chunk, ChunkStream, Exchange
from gateway.guardrails import Place
from gateway.guardrails.verdict import Verdict
from gateway.masking import Masker, Unmasker
from gateway.protocol.answer import Pattern, arrived
from gateway.protocol.assemble import chunk_text
from gateway.stages.guarding.changes import Changer, behind
from gateway.stages.guarding.queued import QueuedStream
from gateway.stages.guarding.request import Guards, blocked, closed, judged, note

Channel = tuple[int, str, int]  # choice, field, tool call
_CONTENT: Channel = (0, "content", 0)
_JSON_FIELDS = frozenset({"tool_calls", "function_call"})
_TOOL_FIELDS = _JSON_FIELDS | {"custom"}
_CUT_WORD = re.compile(r"^\w+")


def is_json(channel: Channel, content_is_json: bool) -> bool:
    """Whether a channel's text is JSON, so that values put into it have to be escaped."""
    return channel[1] in _JSON_FIELDS or (content_is_json and channel[1] == "content")


def place_of(channel: Channel) -> Place:
    return "tool_arguments" if channel[1] in _TOOL_FIELDS else "output"


def map_delta(choice: int, delta: Mapping[str, Any], change: Callable[[Channel, str], str]) -> dict[str, Any]:
    """A copy of a message or a delta with ``change`` applied to its texts and its tool calls' arguments."""
    changed: dict[str, Any] = {}
    for name, value in delta.items():
        if name == "tool_calls" and isinstance(value, list):
            changed[name] = [_map_call(choice, at, call, change) for at, call in enumerate(value)]
        elif name == "function_call" and isinstance(value, dict):
            changed[name] = _map_field(value, "arguments", (choice, name, 0), change)
        elif name != "role" and isinstance(value, str):
            changed[name] = change((choice, name, 0), value)
        else:
            changed[name] = value
    return changed


def _map_call(choice: int, at: int, call: Any, change: Callable[[Channel, str], str]) -> Any:
    if not isinstance(call, dict):
        return call
    index = call["index"] if isinstance(call.get("index"), int) else at
    call = dict(call)
    if isinstance(call.get("function"), dict):
        call["function"] = _map_field(call["function"], "arguments", (choice, "tool_calls", index), change)
    if isinstance(call.get("custom"), dict):
        call["custom"] = _map_field(call["custom"], "input", (choice, "custom", index), change)
    return call


def _map_field(
    value: dict[str, Any], name: str, channel: Channel, change: Callable[[Channel, str], str]
) -> dict[str, Any]:
    text = value.get(name)
    return {**value, name: change(channel, text)} if isinstance(text, str) else value


class GuardedStream(QueuedStream):
    """A stream, judged and unmasked. A chunk waits only while its end may become a violation."""

    def __init__(
        self, inner: ChunkStream, exchange: Exchange, guards: Guards, *, content_is_json: bool = False
    ) -> None:
        super().__init__(inner)
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
        self._noted: set[str] = set()
        self._waiting: dict[Channel, str] = {}
        self._held: list[Chunk] = []

    async def _take(self, chunk: Chunk | None) -> None:
        together = [chunk, *arrived(self._inner)] if chunk is not None else []
        with closed(self._exchange, "output"):
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
            part = {**pattern.data["choices"][0], "delta": {"content": text}}
            run = [Chunk({**pattern.data, "choices": [part]}, text)]
        self._held += run
        if not self._waiting:
            self._release()

    def _feed(self, chunk: Chunk) -> None:
        if self._guards:
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
            if final:
                for channel in [one for one in self._waiting if one[0] == at]:
                    self._judge(channel, "", final=True)

    def _judge(self, channel: Channel, text: str, *, final: bool) -> None:
        window = self._windows.get(channel, "") + text
        self._waiting.pop(channel, None)
        place, in_json = place_of(channel), is_json(channel, self._content_is_json)
        for name, guard in self._guards.items():
            if not guard.reads(place):
                continue
            verdict = judged(self._exchange, name, guard, window, "out", final=final, in_json=in_json)
            if verdict.action == "wait":
                if not guard.shadow and name not in self._changing:
                    self._waiting[channel] = name
            elif verdict.action != "allow":
                if name not in self._noted:
                    self._noted.add(name)
                    note(self._exchange, name, guard, verdict, place, window)
                if verdict.action == "block" and not guard.shadow:
                    raise blocked(name, "out")
        if len(window) > self._reach:
            self._windows[channel] = self._end_of(window)
        else:
            self._windows[channel] = window

    def _end_of(self, window: str) -> str:
        """What has to be seen of it once more arrives."""
        start = behind(window, len(window), self._reach)
        # What is left of a word that began before the window stands as one word character.
        return _CUT_WORD.sub("_", window[start:]) if start else window

    # ------------------------------------------------------------------ unmasking
    def _unmasked(self, chunk: Chunk) -> Chunk:
        if not self._exchange.placeholders and not self._changing:
            return chunk
        choices: list[Any] = list(chunk.data.get("choices") or [])
        for position, part in enumerate(choices):
            if isinstance(part, dict) and isinstance(part.get("delta"), dict):
                at = part["index"] if isinstance(part.get("index"), int) else 0
                delta = map_delta(at, part["delta"], self._unmask)
                if part.get("finish_reason"):
                    self._add_rest(at, delta)
                choices[position] = {**part, "delta": delta}
                if self._changing and part.get("logprobs"):
                    choices[position]["logprobs"] = None  # they spell the text that is held back or changed
        data = {**chunk.data, "choices": choices}
        return Chunk(data, chunk_text(data), chunk.finish_reason, chunk.usage)

    def _unmask(self, channel: Channel, text: str) -> str:
        changer = self._changer(channel)
        return self._unmasker(channel).feed(changer.feed(text) if changer is not None else text)

    def _unmasker(self, channel: Channel) -> Unmasker:
        unmasker = self._unmaskers.get(channel)
        if unmasker is None:
            escaped = is_json(channel, self._content_is_json)
            unmasker = Unmasker(self._exchange.placeholders, in_json=escaped)
            self._unmaskers[channel] = unmasker
        return unmasker

    def _changer(self, channel: Channel) -> Changer | None:
        if not self._changing:
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


def delta_parts(data: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """(index of the choice, choice) of what a chunk adds."""
    choices = data.get("choices")
    return [
        (part["index"] if isinstance(part.get("index"), int) else 0, part)
        for part in (choices if isinstance(choices, list) else [])
        if isinstance(part, dict) and isinstance(part.get("delta"), dict)
    ]
