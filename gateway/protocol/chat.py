"""Chat completions as the gateway acts on them.

Only the fields the gateway decides by are typed here. What is *forwarded* is the complete decoded map
(``gateway.protocol.body``), so a parameter born after this file passes through untouched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct


class Message(Struct, frozen=True):
    """One turn. ``content`` is text, a list of typed parts, or null beside tool calls."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None


class StreamOptions(Struct, frozen=True):
    include_usage: bool = False
    include_obfuscation: bool | None = None


class ChatRequest(Struct, frozen=True):
    """The typed view of ``POST /v1/chat/completions``; ranges are OpenAI's."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: int | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    stop: str | list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    functions: list[dict[str, Any]] | None = None
    response_format: dict[str, Any] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None

    @property
    def streamed(self) -> bool:
        return bool(self.stream)

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def end_user(self) -> str:
        return self.safety_identifier or self.user or ""

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


class Usage(Struct, frozen=True):
    """Tokens of one call. ``cached`` (read from a cache), ``written`` (to one) and ``audio_input`` (sound, which has
    prices of its own) are *inside* ``prompt``, ``reasoning`` and ``audio_output`` inside ``completion``.
    ``cached_audio`` is the sound among ``cached``; None where the provider does not say. ``written_hour`` (kept for an
    hour) is inside ``written``. ``image_input`` and ``image_output`` are inside as sound is; ``searches`` of the web
    cost apart, and so do ``file_searches`` of vector stores that lie at the provider.
    ``tier`` is the service tier that answered, where it has a price of its own; several are joined by "+".
    ``seconds`` of sound are told by models that do not count it in tokens.
    ``told_usd``: what the provider itself says the call costs; ``unpriced``: something ran there that costs apart, and
    nobody says how much."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0
    estimated: bool = False
    written: int = 0
    audio_input: int = 0
    audio_output: int = 0
    cached_audio: int | None = None
    written_hour: int = 0
    tier: str = ""
    image_input: int = 0
    image_output: int = 0
    searches: int = 0
    told_usd: float | None = None
    file_searches: int = 0
    unpriced: bool = False
    seconds: float = 0.0

    @property
    def total(self) -> int:
        return self.prompt + self.completion

    @property
    def heard_again(self) -> int | None:
        """Tokens of sound that came from a cache; None when that cannot be known."""
        if self.cached_audio is not None:
            return min(self.cached_audio, self.cached, self.audio_input)
        return None if self.cached and self.audio_input else 0

    def __add__(self, more: Usage) -> Usage:
        """What two calls used together."""
        mine, theirs = self.heard_again, more.heard_again
        return Usage(
            prompt=self.prompt + more.prompt, completion=self.completion + more.completion,
            cached=self.cached + more.cached, reasoning=self.reasoning + more.reasoning,
            estimated=self.estimated or more.estimated, written=self.written + more.written,
            audio_input=self.audio_input + more.audio_input, audio_output=self.audio_output + more.audio_output,
            cached_audio=None if mine is None or theirs is None else mine + theirs,
            written_hour=self.written_hour + more.written_hour, tier=self.tier or more.tier,
            image_input=self.image_input + more.image_input, image_output=self.image_output + more.image_output,
            searches=self.searches + more.searches, file_searches=self.file_searches + more.file_searches,
            told_usd=None if self.told_usd is None or more.told_usd is None else self.told_usd + more.told_usd,
            unpriced=self.unpriced or more.unpriced, seconds=self.seconds + more.seconds,
        )  # fmt: skip


def total_of(used: Iterable[Usage | None]) -> Usage | None:
    """The sum of what is known; None when nothing is."""
    found: Usage | None = None
    for one in used:
        found = one if found is None else found if one is None else found + one
    return found


class _Cached(Struct, frozen=True):
    audio_tokens: int | None = None


class _Details(Struct, frozen=True):
    cached_tokens: int | None = 0
    cached_tokens_details: _Cached | None = None
    cache_write_tokens: int | None = 0
    reasoning_tokens: int | None = 0
    audio_tokens: int | None = 0
    image_tokens: int | None = 0


MOST_TOKENS = 10**12
_Tokens = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]


class _WireUsage(Struct, frozen=True):
    """A count below nothing is no count: it would be paid out. Nor is one that no call can have used: no budget would
    ever be free of it, and no database takes it."""

    prompt_tokens: _Tokens = 0
    completion_tokens: _Tokens = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


PRICED_TIERS = frozenset({"flex", "priority", "fast", "scale", "reserved", "us", "eu"})
"""Service tiers with a price of their own, and places that Anthropic works at for more."""


def usage_from_wire(value: Any, tier: Any = None) -> Usage | None:
    """OpenAI's ``usage`` object as :class:`Usage`, of an answer by this ``service_tier``; None when absent or not of
    that shape."""
    if not isinstance(value, dict):
        return None
    try:
        wire = msgspec.convert(value, _WireUsage)
    except msgspec.ValidationError:
        return None
    prompt, completion = wire.prompt_tokens_details, wire.completion_tokens_details
    if prompt is None and completion is None and tier not in PRICED_TIERS:
        return Usage(wire.prompt_tokens, wire.completion_tokens)
    return Usage(
        prompt=wire.prompt_tokens,
        completion=wire.completion_tokens,
        cached=_told(prompt.cached_tokens) if prompt else 0,
        reasoning=_told(completion.reasoning_tokens) if completion else 0,
        written=_told(prompt.cache_write_tokens) if prompt else 0,
        audio_input=_told(prompt.audio_tokens) if prompt else 0,
        audio_output=_told(completion.audio_tokens) if completion else 0,
        cached_audio=(
            prompt.cached_tokens_details.audio_tokens if prompt and prompt.cached_tokens_details else None
        ),
        tier=tier if tier in PRICED_TIERS else "",
        image_input=_told(prompt.image_tokens) if prompt else 0,
        image_output=_told(completion.image_tokens) if completion else 0,
    )


def _told(count: int | None) -> int:
    return count if count is not None and 0 < count <= MOST_TOKENS else 0


def usage_to_wire(usage: Usage) -> dict[str, Any]:
    written = {"cache_write_tokens": usage.written} if usage.written else {}
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": usage.audio_input, **written},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_output,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


_EFFORT_BY_BUDGET = ((4096, "low"), (16384, "medium"))


def effort_for(budget: int) -> str:
    """The ``reasoning_effort`` nearest to a budget of thinking tokens."""
    return next((word for most, word in _EFFORT_BY_BUDGET if budget <= most), "high")


def text_of(message: Message) -> str:
    """The text of one turn; typed parts are joined by newlines and parts that are not text are left out."""
    if isinstance(message.content, str):
        return message.content
    if message.content is None:
        return ""
    return "\n".join(str(part.get("text", "")) for part in message.content if part.get("type") == "text")


def text_length(messages: list[Message]) -> int:
    """Characters of all turns' text."""
    found = 0
    for message in messages:
        content = message.content
        if content is not None:
            found += len(content) if isinstance(content, str) else len(text_of(message)) + _found_length(content)
    return found


def _found_length(parts: list[dict[str, Any]]) -> int:
    """Characters of search results, which no other part holds."""
    results = [part.get("content") for part in parts if part.get("type") == "search_result"]
    texts = [one for found in results if isinstance(found, list) for one in found if isinstance(one, dict)]
    return sum(len(str(one.get("text", ""))) for one in texts)


def last_user_text(messages: Sequence[Message]) -> str:
    """The text of the last user turn, "" when there is none."""
    for message in reversed(messages):
        if message.role == "user":
            return text_of(message)
    return ""
