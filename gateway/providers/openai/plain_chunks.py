"""The many chunks of a stream that differ in nothing but their text, read without decoding each of them anew.

Once one such chunk has been decoded completely, everything before and after its text is known. Another event with the
very same bytes around a valid JSON string says the same with another text, so decoding the string is decoding it all,
and the strings of many events are decoded in one step. Where such events follow each other, all that stands between two
texts is known, and one comparison holds all of them to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.protocol.answer import Chunk, Pattern, plain_chunk
from gateway.protocol.sse import Event, EventParser

_text = msgspec.json.Decoder(str).decode
_texts = msgspec.json.Decoder(list[str]).decode
_CONTENT = re.compile(rb'"content" *: *("(?:[^"\\]|\\.)*")')
_MOST_TOGETHER = 256
"""Events of one chunk: where each second one is odd, what was looked at in vain stays little."""
_END, _NEXT = b"\n\n", b"\n\ndata: "
_LAST = 4
"""Events at a stream's end that add no text: why it ended, its usage, the end mark."""
_MOST_PATTERNS = 8
"""Of one stream. A provider whose chunks all differ is not worth the looking."""


class PlainChunks:
    """The plain chunks of one stream."""

    def __init__(self) -> None:
        self._pattern: Pattern | None = None
        self._before = self._after = b""
        self._head = self._tail = self._between = b""
        self._learnt = 0

    def run(self, parser: EventParser, data: bytes) -> tuple[list[Chunk], bytes]:
        """The plain chunks that a stream goes on with, and what of ``data`` is still to be fed to ``parser``."""
        pattern, buffer = self._pattern, parser.begun(data)
        if pattern is None or buffer is None or not buffer.startswith(self._head):
            return [], data
        if buffer.find(_END, len(self._head)) == len(buffer) - len(_END):  # most come one by one
            one = self._one(pattern, buffer)
            if one is None:
                return [], data
            parser.drop()
            return [one], b""
        lines = buffer.split(_NEXT)
        before, after = self._before, self._after
        lines[0] = lines[0].removeprefix(b"data: ")
        if not lines[-1].endswith(_END):
            lines.pop()  # the rest of it is not here yet
        else:
            lines[-1] = lines[-1][: -len(_END)]
        for last in lines[: -_LAST - 1 : -1]:  # a stream's end is odd
            if last.startswith(before) and last.endswith(after):
                break
            lines.pop()
        start, stop = len(before), -len(after)
        literals = [line[start:stop] for line in lines]
        alike = self._between.join(literals).join((self._head, self._tail))
        texts = _strings(literals) if buffer.startswith(alike) else []
        if not texts or len(texts) < len(literals):
            return [], data
        parser.drop()
        chunks = [
            plain_chunk(pattern, "".join(texts[at : at + _MOST_TOGETHER]), tuple(literals[at : at + _MOST_TOGETHER]))
            for at in range(0, len(texts), _MOST_TOGETHER)
        ]
        return chunks, buffer[len(alike) :]

    def _one(self, pattern: Pattern, event: bytes) -> Chunk | None:
        """The only event that is here; None when it is no plain one."""
        if not event.endswith(self._tail):
            return None
        literal = event[len(self._head) : -len(self._tail)]
        try:
            return Chunk(None, _text(literal), None, None, pattern, (literal,))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def read(self, events: Sequence[Event], at: int) -> Chunk | None:
        """The event at ``at``, and those behind it that are alike, as one chunk with a literal for each; None when it
        has not the known bytes around its text."""
        pattern, before, after = self._pattern, self._before, self._after
        if pattern is None:
            return None
        start, stop, literals = len(before), -len(after), []
        for place in range(at, min(at + _MOST_TOGETHER, len(events))):
            payload = events[place].data
            if not (payload.startswith(before) and payload.endswith(after)):
                break
            literals.append(payload[start:stop])
        texts = _strings(literals)
        if not texts:
            return None
        return plain_chunk(pattern, "".join(texts), tuple(literals[: len(texts)]))

    def learnt(self, payload: bytes, chunk: Chunk) -> Chunk:
        """``chunk``, decoded from ``payload``; if it is a plain one, those like it will be known from now on."""
        if self._learnt >= _MOST_PATTERNS or not _plain(chunk.own or {}):
            return chunk
        found = _CONTENT.findall(payload)
        if len(found) != 1 or _text(found[0]) != chunk.text:
            return chunk
        place = _CONTENT.search(payload)
        assert place is not None
        self._learnt += 1
        self._pattern = Pattern(dict(chunk.own or {}))
        self._before, self._after = payload[: place.start(1)], payload[place.end(1) :]
        self._head, self._tail = b"data: " + self._before, self._after + b"\n\n"
        self._between = self._tail + self._head
        return Chunk(chunk.own, chunk.text, None, None, self._pattern, (found[0],))


def _strings(literals: list[bytes]) -> list[str]:
    """What ``literals`` say, up to the first that is no JSON string. No such string holds a bare line break, so none
    can begin in one literal and end in another, and their number is that of the strings."""
    try:
        texts = _texts(b"[%b]" % b",\n".join(literals))
    except (msgspec.DecodeError, UnicodeDecodeError):
        texts = []
    if len(texts) == len(literals):
        return texts
    texts = []
    for literal in literals:
        try:
            texts.append(_text(literal))
        except (msgspec.DecodeError, UnicodeDecodeError):
            break
    return texts


def _plain(data: dict[str, Any]) -> bool:
    """Whether a chunk does nothing but add a text to the first choice."""
    choices = data.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or data.get("usage") or data.get("error"):
        return False
    choice = choices[0]
    delta = choice.get("delta") if isinstance(choice, dict) else None
    return (
        isinstance(delta, dict)
        and len(delta) == 1
        and isinstance(delta.get("content"), str)
        and choice.get("index") == 0
        and not choice.get("finish_reason")
        and not choice.get("logprobs")
    )
