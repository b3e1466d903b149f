"""The many chunks of a stream that differ in nothing but their text, read without decoding each of them anew.

Once one such chunk has been decoded completely, everything before and after its text is known. Another event with the
very same bytes around a valid JSON string says the same with another text, so decoding the string is decoding it all.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.protocol.answer import Chunk, Pattern

_text = msgspec.json.Decoder(str).decode
_CONTENT = re.compile(rb'"content" *: *("(?:[^"\\]|\\.)*")')
_MOST_PATTERNS = 8
"""Of one stream. A provider whose chunks all differ is not worth the looking."""


class PlainChunks:
    """The plain chunks of one stream."""

    def __init__(self) -> None:
        self._pattern: Pattern | None = None
        self._before = self._after = b""
        self._learnt = 0

    def read(self, payload: bytes) -> Chunk | None:
        """``payload`` as a chunk if it has the known bytes around its text, else None."""
        pattern, before, after = self._pattern, self._before, self._after
        if pattern is None or not payload.startswith(before) or not payload.endswith(after):
            return None
        literal = payload[len(before) : -len(after)]
        try:
            text = _text(literal)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        choice = {**pattern.data["choices"][0], "delta": {"content": text}}
        return Chunk({**pattern.data, "choices": [choice]}, text, None, None, pattern, literal)

    def learnt(self, payload: bytes, chunk: Chunk) -> Chunk:
        """``chunk``, decoded from ``payload``; if it is a plain one, those like it will be known from now on."""
        if self._learnt >= _MOST_PATTERNS or not _plain(chunk.data):
            return chunk
        found = _CONTENT.findall(payload)
        if len(found) != 1 or _text(found[0]) != chunk.text:
            return chunk
        place = _CONTENT.search(payload)
        assert place is not None
        self._learnt += 1
        self._pattern = Pattern(dict(chunk.data))
        self._before, self._after = payload[: place.start(1)], payload[place.end(1) :]
        return Chunk(chunk.data, chunk.text, None, None, self._pattern, found[0])


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
