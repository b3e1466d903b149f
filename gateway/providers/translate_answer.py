"""Writing answers in OpenAI's shape from a dialect of another: whole, and in chunks in the order OpenAI sends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.protocol.answer import Chunk, Pattern, WholeAnswer, plain_chunk
from gateway.protocol.chat import MOST_TOKENS, Usage, usage_to_wire
from gateway.providers.codec import NOTHING


def count(value: Any) -> int:
    """A token count; anything that is none counts as 0."""
    return value if isinstance(value, int) and 0 < value <= MOST_TOKENS else 0


def tool_call(id_: str, name: str, arguments: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def one_call(asked: Mapping[str, Any]) -> bool:
    """Whether the client wants no more than one call of a tool in an answer. A provider that has no word for it may
    make several: the first is told, and the others can be made again when its result is known."""
    return asked.get("parallel_tool_calls") is False


def url_citation(start: int, end: int, url: str, title: str) -> dict[str, Any]:
    """An annotation as OpenAI's web search writes it; positions are characters of the answer."""
    citation = {"start_index": start, "end_index": end, "url": url, "title": title}
    return {"type": "url_citation", "url_citation": citation}


def choice(
    index: int,
    text: str,
    finish: str,
    *,
    calls: list[dict[str, Any]],
    refusal: str | None = None,
    annotations: list[dict[str, Any]] | None = None,
    logprobs: Any = None,
    extra: Mapping[str, Any] | None = None,
    stop: str | None = None,
) -> dict[str, Any]:
    """One choice of a whole answer. ``extra`` are further fields of the message, empty ones left out; ``stop`` is the
    stop sequence that was met, where the provider tells; "" where it does not say which."""
    silent = not text and bool(calls or refusal)
    message: dict[str, Any] = {"role": "assistant", "content": None if silent else text, "refusal": refusal}
    message["annotations"] = annotations or []
    message.update((name, value) for name, value in (extra or {}).items() if value)
    if calls:
        message["tool_calls"] = calls
    made = {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}
    return made if stop is None else {**made, "stop_reason": stop}


def whole(
    choices: list[dict[str, Any]],
    usage: Usage | None,
    *,
    id_: str,
    model: str,
    now: float,
    asked: Mapping[str, Any] = NOTHING,
    **more: Any,
) -> WholeAnswer:
    if one_call(asked):
        for one in choices:
            if "tool_calls" in one["message"]:
                del one["message"]["tool_calls"][1:]
    data = {
        "id": id_,
        "object": "chat.completion",
        "created": int(now),
        "model": model,
        "choices": choices,
        "usage": None if usage is None else usage_to_wire(usage),
        "system_fingerprint": None,
        **{name: value for name, value in more.items() if value is not None},
    }
    first = choices[0]
    return WholeAnswer(
        data=data, text=first["message"]["content"] or "", finish_reason=first["finish_reason"], usage=usage
    )


class Writer:
    """Chunks of one streamed answer: per choice a role first, then deltas, one finish reason; usage at the end."""

    __slots__ = ("_alike", "_created", "_finished", "_one_call", "_opened", "_pattern", "id", "model", "tier")

    def __init__(self, asked: Mapping[str, Any] = NOTHING) -> None:
        self.id, self.model = "", ""
        self._one_call = one_call(asked)
        self.tier: str | None = None
        self._created = int(time.time())
        self._opened: set[int] = set()
        self._finished: set[int] = set()
        self._pattern: Pattern | None = None
        self._alike: tuple[str, str, str | None] = ("", "", None)

    @property
    def opened(self) -> set[int]:
        return self._opened

    @property
    def complete(self) -> bool:
        """Whether every choice that was begun has its finish reason."""
        return bool(self._opened) and self._opened == self._finished

    def _envelope(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        data = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self.model,
            "system_fingerprint": None,
            "choices": choices,
        }
        if self.tier is not None:
            data["service_tier"] = self.tier
        return data

    def open(self, index: int = 0) -> list[Chunk]:
        """The role chunk, the first time only."""
        if index in self._opened:
            return []
        self._opened.add(index)
        return [self._chunk(index, {"role": "assistant", "content": "", "refusal": None})]

    def delta(self, delta: dict[str, Any], index: int = 0, *, logprobs: Any = None) -> list[Chunk]:
        if index == 0 and 0 in self._opened and logprobs is None and delta.keys() == {"content"}:
            return [self._plain(delta["content"])]
        if self._one_call and "tool_calls" in delta and delta["tool_calls"][0]["index"]:
            return []
        chunks = self.open(index)
        chunks.append(self._chunk(index, delta, logprobs=logprobs))
        return chunks

    def _plain(self, text: str) -> Chunk:
        """A chunk that does nothing but add ``text``: most are, so they share what else is in them."""
        pattern, alike = self._pattern, (self.id, self.model, self.tier)
        if pattern is None or alike != self._alike:
            self._pattern = pattern = Pattern(self._chunk(0, {"content": ""}).data)
            self._alike = alike
        return plain_chunk(pattern, text, (msgspec.json.encode(text),))

    def finish(self, reason: str, index: int = 0, *, stop: str | None = None) -> list[Chunk]:
        """The empty last delta, the first time only; ``stop`` as for a whole choice."""
        if index in self._finished:
            return []
        chunks = self.open(index)
        self._finished.add(index)
        last = self._chunk(index, {}, reason)
        if stop is not None:
            last.data["choices"][0]["stop_reason"] = stop
        chunks.append(last)
        return chunks

    def usage(self, usage: Usage) -> Chunk:
        return Chunk({**self._envelope([]), "usage": usage_to_wire(usage)}, usage=usage)

    def _chunk(
        self, index: int, delta: dict[str, Any], finish: str | None = None, *, logprobs: Any = None
    ) -> Chunk:
        part = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        first = index == 0
        text = delta.get("content") or ""
        return Chunk(self._envelope([part]), text if first else "", finish if first else None)
