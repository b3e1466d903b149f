"""ConverseStream's messages as OpenAI's chunks.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from gateway.protocol.answer import Chunk
from gateway.providers.bedrock.answer import (
    SERVERS_OWN,
    Said,
    citation,
    complaint,
    met,
    reason,
    tier_of,
    usage_of,
)
from gateway.providers.bedrock.aws import BrokenMessage, Message, MessageParser
from gateway.providers.failures import lenient, nonsense, object_in, refusal, text_field
from gateway.providers.steps import Steps
from gateway.providers.translate_answer import Writer, tool_call

_STATUS = {
    "throttlingException": 429, "validationException": 400, "modelStreamErrorException": 424,
    "internalServerException": 500, "serviceUnavailableException": 503,
}  # fmt: skip


class BedrockStream(Steps):
    """Wherever the bytes were cut. ``metadata`` is the last message."""

    def __init__(self, provider: str, asked: Mapping[str, Any]) -> None:
        super().__init__()
        self._provider, self._asked = provider, asked
        self._messages = MessageParser()
        self._writer = Writer(asked)
        self._writer.id = secrets.token_hex(12)
        self._said = Said()
        self._calls: dict[Any, int] = {}
        self._silent: set[int] = set()
        self._thoughts: dict[Any, dict[str, Any]] = {}
        self._told = 0
        self._starts: dict[Any, int] = {}
        self._cited: dict[Any, list[dict[str, Any]]] = {}
        self._pictures: dict[Any, tuple[str, list[str]]] = {}

    def feed(self, data: bytes) -> list[Chunk]:
        try:
            messages = self._messages.feed(data)
        except BrokenMessage:
            raise nonsense(self._provider, "bytes that are no event stream") from None
        return self.steps(messages, self._message)

    def finish(self) -> list[Chunk]:
        self.ended(self._provider)
        return []

    def _message(self, message: Message) -> list[Chunk]:
        headers = message.headers
        if headers.get(":message-type") != "event":
            kind = headers.get(":exception-type") or headers.get(":error-code") or ""
            text = text_field(lenient(message.payload), "message") or headers.get(":error-message", "")
            status = _STATUS.get(kind, 500)
            raise refusal(self._provider, status, {}, complaint(status, kind, text), now=0.0)
        event = object_in(self._provider, message.payload)
        name, index = headers.get(":event-type"), event.get("contentBlockIndex")
        if name == "messageStart":
            return self._writer.open()
        if name == "contentBlockStart":
            return self._begin(index, event)
        if name == "contentBlockDelta":
            delta = event.get("delta")
            return self._delta(index, delta if isinstance(delta, dict) else {})
        if name == "contentBlockStop":
            return self._end(index)
        if name == "messageStop":
            return self._stop(event)
        if name == "metadata":
            return self._last(event)
        return []

    def _begin(self, index: Any, event: dict[str, Any]) -> list[Chunk]:
        start = event.get("start")
        start = start if isinstance(start, dict) else {}
        if isinstance(start.get("image"), dict):
            self._pictures[index] = text_field(start, "image", "format"), []
        used = start.get("toolUse")
        if not isinstance(used, dict) or used.get("type") == SERVERS_OWN:
            return []
        at = self._calls[index] = len(self._calls)
        self._silent.add(at)
        call = tool_call(str(used.get("toolUseId")), str(used.get("name")), "")
        return self._writer.delta({"tool_calls": [{"index": at, **call}]})

    def _delta(self, index: Any, delta: dict[str, Any]) -> list[Chunk]:
        if isinstance(delta.get("text"), str):
            return self._text(index, delta["text"])
        piece = text_field(delta, "toolUse", "input")
        if piece and index in self._calls:
            self._silent.discard(self._calls[index])
            return self._arguments(self._calls[index], piece)
        if isinstance(delta.get("citation"), dict):
            self._cited.setdefault(index, []).append(delta["citation"])
        if isinstance(delta.get("image"), dict):
            _, pieces = self._pictures.setdefault(index, ("", []))
            pieces.append(text_field(delta, "image", "source", "bytes"))
        reasoning = delta.get("reasoningContent")
        return self._thought(index, reasoning) if isinstance(reasoning, dict) else []

    def _text(self, index: Any, text: str) -> list[Chunk]:
        chunks = []
        if index not in self._starts:
            self._starts[index] = self._said.length
            if self._said.length and self._said.citations:
                # Claude begins another text where sources begin or end: Messages clients are shown the same.
                chunks = self._writer.delta({"citations": []})
        self._said.add_text(text)
        return chunks + self._writer.delta({"content": text}) if text else chunks

    def _thought(self, index: Any, reasoning: dict[str, Any]) -> list[Chunk]:
        if isinstance(reasoning.get("redactedContent"), str):
            self._thoughts[index] = {"type": "redacted_thinking", "data": reasoning["redactedContent"]}
            return []
        text = text_field(reasoning, "text")
        kept = self._thoughts.setdefault(index, {"type": "thinking", "thinking": "", "signature": ""})
        kept["thinking"] = str(kept.get("thinking") or "") + text
        kept["signature"] = str(kept.get("signature") or "") + text_field(reasoning, "signature")
        return self._writer.delta({"reasoning_content": text}) if text else []

    def _arguments(self, at: int, piece: str) -> list[Chunk]:
        return self._writer.delta({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})

    def _end(self, index: Any) -> list[Chunk]:
        """A block is over: what stands at its end, and arguments for a tool that has none."""
        if self._calls.get(index) in self._silent:
            self._silent.discard(self._calls[index])
            return self._arguments(self._calls[index], "{}")
        if index in self._thoughts:
            return self._told_thoughts()
        if index in self._pictures:
            kind, pieces = self._pictures.pop(index)
            self._said.picture(kind, "".join(pieces))
        for one in self._cited.pop(index, ()):
            self._said.cite(citation(one), self._starts.get(index, 0))
        cited = self._said.told()
        return self._writer.delta({"citations": cited}) if cited else []

    def _told_thoughts(self) -> list[Chunk]:
        """The thoughts that have ended since the last time, with their signatures."""
        known = list(self._thoughts.values())
        fresh = [{"index": at, **known[at]} for at in range(self._told, len(known))]
        self._told = len(known)
        return self._writer.delta({"thinking_blocks": fresh}) if fresh else []

    def _stop(self, event: dict[str, Any]) -> list[Chunk]:
        told = reason(self._provider, event.get("stopReason"))
        chunks = [] if self._told == len(self._thoughts) else self._told_thoughts()
        late = {"annotations": self._said.annotations, "images": self._said.images}
        late = {name: value for name, value in late.items() if value}
        chunks += self._writer.delta(late) if late else []
        return chunks + self._writer.finish(told, stop=met(event, self._asked))

    def _last(self, event: dict[str, Any]) -> list[Chunk]:
        if not self._writer.complete:
            raise nonsense(self._provider, "a stream that ended without a reason")
        self.done = True
        self._writer.tier = tier_of(event.get("serviceTier"))
        usage = usage_of(event.get("usage"), event.get("serviceTier"))
        return [self._writer.usage(usage)] if usage is not None else []
