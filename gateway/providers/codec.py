"""What a provider adapter is: a codec, not a client. Nothing here or beside it awaits or opens a socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

from msgspec import Struct

from gateway.errors import GatewayError
from gateway.protocol.answer import Chunk, WholeAnswer
from optimizer.routing.attempts import Failure, FailureKind

NOTHING: Mapping[str, Any] = MappingProxyType({})


class UpstreamRequest(Struct, frozen=True):
    """One HTTP request, ready to send. ``socket`` names a unix socket to send it over, else "" for TCP."""

    url: str
    headers: dict[str, str]
    body: bytes
    socket: str = ""


class Enforcement(Struct, frozen=True):
    """How far a model's provider holds an answer to its form.

    ``schema`` for ``response_format: json_schema``: ``strict`` (the provider guarantees it), ``guided`` (it is told
    and may err), ``json`` (it knows ``json_object`` only) or ``prompt`` (it knows neither). ``json`` the same for
    ``json_object``. ``tools`` for tools with ``strict: true``; ``plain``: the provider refuses the word.
    ``settled``: what ``models:`` says of the model changes nothing.
    """

    schema: Literal["strict", "guided", "json", "prompt"] = "guided"
    json: Literal["strict", "guided", "prompt"] = "guided"
    tools: Literal["strict", "guided", "plain"] = "guided"
    settled: bool = True


CLAUDE_ENFORCES = Enforcement("strict", "prompt", "strict")
NOT_ENFORCED = Enforcement("prompt", "prompt", "plain")


class AttemptFailed(Exception):
    """An attempt that gave no answer: what happened (for the retry decision) and what a client would be told."""

    def __init__(self, failure: Failure, error: GatewayError) -> None:
        super().__init__(error.message)
        self.failure = failure
        self.error = error


class DocumentRefused(AttemptFailed):
    """A file in the request is of a type that its provider does not take, which is known before anybody is asked: its
    text may go in its place. ``takes`` says of which types it is otherwise ("": of none that its sender tells)."""

    def __init__(self, error: GatewayError, takes: Callable[[str], bool]) -> None:
        super().__init__(Failure(kind="unsupported", status=error.status), error)
        self.takes = takes


class NobodyAsked(AttemptFailed):
    """Each of the provider's keys rests or has used up what it may, which is known before anybody is asked: it says
    nothing of whether the provider is well."""


def failed(kind: FailureKind, error: GatewayError, *, retry_after: float | None = None) -> AttemptFailed:
    return AttemptFailed(Failure(kind=kind, status=error.status, retry_after=retry_after), error)


class StreamDecoder(Protocol):
    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks completed by ``data``. Raises AttemptFailed for an error event or junk."""

    @property
    def done(self) -> bool:
        """Whether the provider's own end mark has been seen."""

    @property
    def problem(self) -> AttemptFailed | None:
        """What ``feed`` would have raised, had there not been chunks before it; nothing comes after it."""

    def finish(self) -> list[Chunk]:
        """Called at the end of the body: the chunks that only the end brings, for dialects without an end mark.
        Raises AttemptFailed when the stream was cut."""


class Codec(Protocol):
    """One provider in one wire dialect. ``asked`` is the chat request that is answered, for dialects whose answers
    leave out what the request said."""

    def encode(self, body: Mapping[str, Any], model: str, *, stream: bool) -> UpstreamRequest: ...

    def decode(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        *,
        now: float,
        asked: Mapping[str, Any] = NOTHING,
    ) -> WholeAnswer:
        """Raises AttemptFailed for every answer that is not a completion."""

    def refuse(self, status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> AttemptFailed:
        """The failure an error status stands for."""

    def stream(self, asked: Mapping[str, Any] = NOTHING) -> StreamDecoder: ...

    def enforces(self, model: str) -> Enforcement:
        """What the provider guarantees of this model's structured answers."""

    def most_choices(self) -> int:
        """The largest ``n`` that one request may have."""


@runtime_checkable
class Embedder(Protocol):
    """A codec whose provider embeds texts in a dialect of its own; one that speaks OpenAI's needs nothing of this."""

    def portions(self, body: Mapping[str, Any], model: str) -> list[dict[str, Any]]:
        """The requests that a client's becomes, where the provider takes fewer texts at a time; ``input`` is a list of
        texts in each. Raises AttemptFailed."""

    def embedding(self, body: Mapping[str, Any], model: str) -> UpstreamRequest:
        """One of the portions, ready to send."""

    def embedded(self, data: Mapping[str, Any], body: Mapping[str, Any], model: str) -> dict[str, Any]:
        """The answer to a portion in OpenAI's shape. Raises ValueError for junk."""
