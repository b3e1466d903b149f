"""Stop sequences of a provider that has no word for them: its answer is cut here. What it wrote behind the cut was
written all the same, and is in the usage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gateway.protocol import server_blocks
from gateway.protocol.answer import Chunk
from gateway.protocol.lists import dicts
from gateway.providers.codec import StreamDecoder
from gateway.providers.steps import Around
from gateway.providers.translate_answer import Writer
from gateway.providers.translate_request import stops_of

_FILTERED = "content_filter"
_WORDS = frozenset({"content", "role", "refusal"})
"""What stands in a delta beside or before words: nothing that comes after those that are held back."""


def kept_here(asked: Mapping[str, Any]) -> list[str]:
    """The stop sequences at which an answer is cut: none beside log-probabilities, where they are refused."""
    return [] if asked.get("logprobs") else stops_of(asked)


class Cut:
    """Text as it grows, up to the first stop sequence in it. Holds back what may be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.met: str | None = None
        """The sequence that was met: nothing is behind it."""
        self.length = 0
        """Characters that were let through."""

    def feed(self, text: str) -> str:
        """What may be told by now."""
        if self.met is not None:
            return ""
        self._held += text
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:  # the first that was complete: there a provider would have stopped
            _, end, self.met = min(found)
        else:
            end = len(self._held) - max(self._begun(stop) for stop in self._stops)
        return self._let_through(end)

    def flush(self) -> str:
        """What was held back, where the text ends here."""
        return self._let_through(len(self._held)) if self.met is None else ""

    def within(self, annotations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those that point to words that are told."""
        return [one for one in annotations if _end(one) <= self.length] if self.met is not None else [*annotations]

    def _let_through(self, end: int) -> str:
        told, self._held = self._held[:end], self._held[end:]
        self.length += len(told)
        return told

    def _begun(self, stop: str) -> int:
        """How much of this sequence stands at the end of what is held."""
        longest = min(len(stop) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(stop[:size])), 0)


def cut_choice(made: dict[str, Any], stops: Sequence[str]) -> dict[str, Any]:
    """A choice of a whole answer up to a stop sequence."""
    cut, message = Cut(stops), made["message"]
    text = cut.feed(message["content"] or "")
    if cut.met is None:
        return made
    message = {**message, "content": text}
    if message.get("annotations"):
        message["annotations"] = cut.within(message["annotations"])
    for behind in ("tool_calls", "images"):
        message.pop(behind, None)
    if server_blocks.NAME in message:
        ran = [one for one in message[server_blocks.NAME] if one["start_index"] <= cut.length]
        message[server_blocks.NAME] = ran
    if made["finish_reason"] == _FILTERED:
        return {**made, "message": message}
    return {**made, "message": message, "finish_reason": "stop", "stop_reason": cut.met}


class CuttingWriter(Writer):
    """Chunks of one streamed answer up to a stop sequence, and its end."""

    __slots__ = ("_cut",)

    def __init__(self, stops: Sequence[str]) -> None:
        super().__init__()
        self._cut = Cut(stops)

    def delta(self, delta: dict[str, Any], index: int = 0, *, logprobs: Any = None) -> list[Chunk]:
        if "annotations" in delta:
            delta = {**delta, "annotations": self._cut.within(delta["annotations"])}
            return super().delta(delta, index) if self._cut.met is None or delta["annotations"] else []
        if self._cut.met is not None:
            return []
        if "content" in delta:
            told = self._cut.feed(delta["content"])
            return super().delta({"content": told}, index) if told else []
        return self._rest(index) + super().delta(delta, index, logprobs=logprobs)

    def finish(self, reason: str, index: int = 0, *, stop: str | None = None) -> list[Chunk]:
        met = self._cut.met if reason != _FILTERED else None
        return self._rest(index) + super().finish(reason if met is None else "stop", index, stop=stop or met)

    def _rest(self, index: int) -> list[Chunk]:
        held = self._cut.flush()
        return super().delta({"content": held}, index) if held else []


class CutStream(Around):
    """Chunks of another decoder up to a stop sequence, choice by choice."""

    def __init__(self, inner: StreamDecoder, stops: Sequence[str], cuts: Callable[[str], bool]) -> None:
        """``cuts``: whether answers of a model, by the name that they tell, have to be cut."""
        super().__init__(inner)
        self._stops, self._cuts = stops, cuts
        self._choices: dict[Any, Cut] = {}

    def told(self, chunk: Chunk) -> Iterable[Chunk]:
        data = chunk.data
        if not self._cuts(str(data.get("model") or "")):
            return (chunk,)
        before = dicts(data.get("choices"))
        choices = [told for one in before if (told := self._choice(one)) is not None]
        if before and not choices and chunk.usage is None:
            return ()
        first = next((one for one in choices if not one.get("index")), {})
        text = (first.get("delta") or {}).get("content") or ""
        return (Chunk({**data, "choices": choices}, text, first.get("finish_reason"), chunk.usage),)

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        cut = self._choices.setdefault(choice.get("index"), Cut(self._stops))
        behind, reason = cut.met is not None, choice.get("finish_reason")
        delta = choice["delta"] if isinstance(choice.get("delta"), dict) else {}
        if behind and not reason:
            return None
        told = cut.feed(str(delta.get("content") or ""))
        if reason or not _WORDS.issuperset(delta):
            told += cut.flush()
        delta = {} if behind else {**delta, **({"content": told} if told or "content" in delta else {})}
        if cut.met is not None:
            delta.pop("tool_calls", None)
            if reason and reason != _FILTERED:
                return {**choice, "delta": delta, "finish_reason": "stop", "stop_reason": cut.met}
        held_all = not told and not reason and delta.keys() == {"content"} and choice["delta"]["content"]
        return None if held_all else {**choice, "delta": delta}


def _end(annotation: dict[str, Any]) -> int:
    page, file = annotation.get("url_citation"), annotation.get("file_citation")
    place = page.get("end_index") if isinstance(page, dict) else file.get("index") if isinstance(file, dict) else 0
    return place if isinstance(place, int) else 0
