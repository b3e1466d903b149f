"""What models cost and can do, and who serves what is not chat."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal, Protocol

from msgspec import Meta

from gateway.config.values import Name, Node, Share
from optimizer.routing.facts import Capability
from optimizer.routing.plan import Candidate


class LongContext(Node, frozen=True):
    """What a call costs whose prompt has more than ``above`` tokens: all of it, as vendors bill it."""

    above: Annotated[int, Meta(ge=1)]
    input: Annotated[float, Meta(ge=0)]
    output: Annotated[float, Meta(ge=0)]
    cached_input: Annotated[float, Meta(ge=0)] | None = None
    cache_write: Annotated[float, Meta(ge=0)] | None = None
    cache_write_1h: Annotated[float, Meta(ge=0)] | None = None


class Price(Node, frozen=True):
    """US dollars per million tokens. ``cached_input`` None means cached tokens cost what input costs."""

    RATES: ClassVar = ("input", "cached_input", "output", "audio_input", "audio_output", "image_input", "image_output")
    input: Annotated[float, Meta(ge=0)]
    output: Annotated[float, Meta(ge=0)]
    cached_input: Annotated[float, Meta(ge=0)] | None = None
    cache_write: Annotated[float, Meta(ge=0)] | None = None
    """Tokens written to a cache; None: what input costs."""
    cache_write_1h: Annotated[float, Meta(ge=0)] | None = None
    """Those that are kept for an hour; None: what ``cache_write`` says."""
    long_context: LongContext | None = None
    tiers: dict[str, Annotated[float, Meta(gt=0, le=100)]] = {}
    """How many times the price a service tier costs (``flex``, ``priority``, ``fast``, …), or a place (``us``); an
    answer that came by one of these without a word here has no known cost."""
    audio_input: Annotated[float, Meta(ge=0)] | None = None
    """Tokens of sound in the prompt; None: a call that has them has no known cost."""
    audio_output: Annotated[float, Meta(ge=0)] | None = None
    """Tokens of sound in the answer; None as before."""
    cached_audio_input: Annotated[float, Meta(ge=0)] | None = None
    """Tokens of sound that were read from a cache; None: what ``audio_input`` costs."""
    image_input: Annotated[float, Meta(ge=0)] | None = None
    """Tokens of pictures in the prompt; None: what ``input`` costs."""
    image_output: Annotated[float, Meta(ge=0)] | None = None
    """Tokens of pictures in the answer; None: a call that has them has no known cost."""
    search: Annotated[float, Meta(ge=0)] | None = None
    """A thousand searches of the web that the provider makes; None: a call with one has no known cost."""
    file_search: Annotated[float, Meta(ge=0)] | None = None
    """A thousand searches of vector stores that lie at the provider; None as before."""
    minute: Annotated[float, Meta(ge=0)] | None = None
    """A minute of sound, of models that count it in seconds; None: a call that is told so has no known cost."""
    batch: Share | None = None
    """What share of the price a line of a batch costs; None: all of it."""
    as_of: str = ""
    source: str = ""


class Model(Node, frozen=True):
    """What a model is, as far as routing asks; None is unknown. ``region`` is a tag of the operator's choice."""

    context_window: Annotated[int, Meta(ge=1)] | None = None
    max_output: Annotated[int, Meta(ge=1)] | None = None
    capabilities: list[Capability] | None = None
    quality: Share | None = None
    region: str = ""
    shutdown_date: Annotated[str, Meta(pattern=r"^(\d{4}-\d{2}-\d{2})?$")] = ""
    """The day, as its provider announced it, on which the model is no longer served; "": none is known."""
    as_of: str = ""
    source: str = ""


class Named(Protocol):
    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...


def shutdown_at(models: Mapping[str, Mapping[str, Model]], one: Named) -> float | None:
    """The first unix second (UTC) at which a model is no longer served; None when none is known."""
    known = models.get(one.provider, {}).get(one.model)
    if known is None or not known.shutdown_date:
        return None
    return datetime.fromisoformat(known.shutdown_date).replace(tzinfo=UTC).timestamp()


class Defaults(Node, frozen=True):
    """Decoding parameters for calls whose client says nothing about them."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: int | None = None
    stop: list[str] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None


class CandidateRef(Node, frozen=True):
    """``quality`` and ``region`` come before what ``models:`` says of the model. ``parameters`` are this candidate's
    own, before the task's ``defaults``; what the client says itself stays. They need a ``variant``: the same model may
    be a candidate several times, with a name for each."""

    provider: Name
    model: str
    variant: Name | None = None
    parameters: Defaults | None = None
    quality: Share | None = None
    region: str = ""

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.provider, self.model, self.variant or "")


class Surface(Node, frozen=True):
    """Who serves what is not chat, when a client names a model that no task and no price list knows."""

    embeddings: Name | None = None
    moderations: CandidateRef | Literal["local"] | None = None
    """``local``: the guardrails answer."""
    images: Name | None = None
    audio: Name | None = None
