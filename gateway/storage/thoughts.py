"""What a teacher thought of each token it wrote, read from a captured answer."""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from gateway.storage.values import TokenThought


class _Likely(Struct):
    token: str
    logprob: float
    raw: list[int] | None = field(default=None, name="bytes")
    top_logprobs: list[_Likely] = []

    def name(self) -> bytes:
        """The token's bytes: those the provider states, else its text's."""
        if self.raw is not None and all(0 <= one < 256 for one in self.raw):
            return bytes(self.raw)
        return self.token.encode("utf-8", "replace")


class _Content(Struct):
    content: list[_Likely]


class _Choice(Struct):
    logprobs: _Content


class _Answer(Struct):
    choices: list[_Choice]


_answer = msgspec.json.Decoder(_Answer)


def thoughts_in(answer: str | None) -> tuple[TokenThought, ...]:
    """Those of the first choice, in OpenAI's shape; none for an answer without, or of another shape."""
    if answer is None or '"top_logprobs"' not in answer:
        return ()
    try:
        content = _answer.decode(answer.encode("utf-8", "replace")).choices[0].logprobs.content
    except (msgspec.MsgspecError, IndexError):
        return ()
    return tuple(
        TokenThought(one.name(), tuple((other.name(), other.logprob) for other in one.top_logprobs))
        for one in content
    )
