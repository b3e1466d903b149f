"""The schema of a vendor's file. A leaf: providers, prices and routing read from it what concerns them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from optimizer.routing.facts import Capability

Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Web = Annotated[str, Meta(pattern=r"^https://\S+$")]
Usd = Annotated[float, Meta(ge=0, lt=10_000)]
Tokens = Annotated[int, Meta(ge=1)]

DocumentType = Literal["pdf", "docx", "pptx", "xlsx"]
MOST_CHOICES = 128
"""What OpenAI allows for ``n``."""


class Traits(Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator knows better of a vendor (``traits:`` of a provider). A field that says something goes before
    the vendor's file; :class:`Profile` says what each means."""

    most_choices: Annotated[int, Meta(ge=1, le=MOST_CHOICES)] | None = None
    most_stops: Annotated[int, Meta(ge=1)] | None = None
    usage_in_stream: bool | None = None
    structured: Literal["strict", "guided", "json", "prompt"] | None = None
    json_mode: Literal["strict", "guided", "prompt"] | None = None
    strict_tools: Literal["strict", "guided", "plain"] | None = None
    lacks: list[str] | None = None
    leaves_out: list[str] | None = None
    renames: dict[str, str] | None = None
    developer_role: bool | None = None
    empty_fields: bool | None = None
    short_call_ids: bool | None = None
    keeps: list[str] | None = None
    thoughts_as: Literal["reasoning_content", "reasoning", ""] | None = None
    sources: bool | None = None
    end_mark: bool | None = None
    tells_cost: bool | None = None
    web_search: Literal["options", "perplexity", "openrouter"] | None = None
    custom_tools: bool | None = None
    documents: list[DocumentType] | None = None
    files_as: Literal["", "address", "document_url", "file_url"] | None = None

    def said(self) -> Iterator[tuple[str, object]]:
        return ((name, value) for name, value in structs.asdict(self).items() if value is not None)


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """How a vendor speaks. All of it is our reading of its public documentation (``source``, read at ``as_of``), in
    doubt less. Dialects of their own use ``most_choices`` and ``most_stops`` alone; the rest is for those that speak
    OpenAI's."""

    base_url: str = ""
    most_choices: Annotated[int, Meta(ge=1, le=MOST_CHOICES)] = MOST_CHOICES
    """The largest ``n`` of one request. For more, the gateway asks side by side (``stages/several.py``)."""
    most_stops: Annotated[int, Meta(ge=1)] | None = None
    """How many stop sequences a request may name; more are refused as a parameter that is lacked. None: nobody says."""
    usage_in_stream: bool = True
    """Whether ``stream_options: {include_usage: true}`` is understood. Vendors that send usage anyway say false."""
    structured: Literal["strict", "guided", "json", "prompt"] = "guided"
    """What becomes of a JSON schema. strict: the vendor guarantees it; guided: it is told and may err; json: it knows
    ``json_object`` only; prompt: neither. What is not strict is checked by the gateway (docs/structured.md)."""
    json_mode: Literal["strict", "guided", "prompt"] = "guided"
    strict_tools: Literal["strict", "guided", "plain"] = "guided"
    lacks: list[str] = []
    """Parameters that it refuses, or passes over although they change the answer: another candidate is asked, else
    the error names parameter and provider (or ``drop_params: true`` on the provider)."""
    leaves_out: list[str] = []
    """Parameters that it refuses and that change no answer: not sent."""
    renames: dict[str, str] = {}
    developer_role: bool = True
    """False: instructions of the role ``developer`` are sent as ``system``."""
    empty_fields: bool = True
    """False: ``refusal: null``, ``annotations: []`` and their like in earlier turns are not sent."""
    short_call_ids: bool = False
    """True: ids of tool calls are nine letters and digits."""
    keeps: list[str] = []
    """Message fields that are not OpenAI's and that it wants back; others are not sent."""
    thoughts_as: Literal["reasoning_content", "reasoning", ""] = ""
    """The message field in which it takes earlier thoughts back. Clients always see ``reasoning_content``."""
    sources: bool = False
    """True: the pages in ``search_results`` or ``citations`` become ``annotations``."""
    end_mark: bool = True
    """False: its streams may end without [DONE], after the finish reason."""
    tells_cost: bool = False
    """True: ``usage.cost`` is what the call costs in US dollars, which counts where nobody knows a price."""
    web_search: Literal["options", "perplexity", "openrouter"] = "options"
    """In whose words a search of the web is asked for: ``web_search_options`` as OpenAI's chat has it, or the vendor's
    own. Vendors without any have it in ``lacks``."""
    custom_tools: bool = False
    """True: it knows OpenAI's custom tools. Others are offered a function of one text in their place."""
    documents: list[DocumentType] | None = None
    """What it takes as files in chat; of others the text goes in their place. None: nobody says, and all go as they
    are."""
    files_as: Literal["", "address", "document_url", "file_url"] = ""
    """In whose words it takes them; "": in OpenAI's, which have no place for a file's address
    (``providers/vendor_files.py``)."""
    as_of: str = ""
    source: str = ""

    def with_traits(self, own: Traits | None) -> Profile:
        return structs.replace(self, **dict(own.said())) if own is not None else self


class Wire(Profile, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A profile in a vendor's file, where a date and a source are no choice."""

    as_of: Day
    source: Web


class Ability(Struct, frozen=True, forbid_unknown_fields=True):
    """What models of one name can do where those of one dialect differ. ``match`` is a shell pattern; the first that
    fits counts, and a provider's own ``models:`` come first.

    ``thinking``: none; budget (a number of tokens); level (Gemini's levels); for Claude: optional (adaptive, off
    unless asked for), adaptive (on unless switched off), always (adaptive, cannot be switched off). ``least``: the
    smallest budget. ``top_effort``: the highest of Claude's efforts that it knows; ``no_xhigh``: but not this one.
    ``sampling``: temperature and top_p other than the default are accepted. ``forcing``: a tool can
    be demanded. ``structured``: a JSON schema is enforced by the provider.
    """

    match: str
    thinking: Literal["none", "budget", "level", "optional", "adaptive", "always"] = "none"
    least: int = 0
    top_effort: Literal["high", "xhigh", "max"] = "xhigh"
    no_xhigh: bool = False
    sampling: bool = True
    forcing: bool = True
    structured: bool = True


class Host(Struct, frozen=True, forbid_unknown_fields=True):
    """What models lack where somebody else than their vendor runs them. ``plain``: patterns of those whose answers are
    held to no schema there."""

    plain: list[str] = []


class Thinking(Struct, frozen=True, forbid_unknown_fields=True):
    as_of: Day
    source: Web
    models: list[Ability]
    hosts: dict[str, Host] = {}


class ListedModel(Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens of context, the longest answer (None: nobody says), what it can do; ``also``: its other names."""

    context_window: Tokens
    capabilities: list[Capability]
    max_output: Tokens | None = None
    also: list[str] = []


class Models(Struct, frozen=True, forbid_unknown_fields=True):
    as_of: Day
    source: Web
    models: dict[str, ListedModel]


class ListedLong(Struct, frozen=True, forbid_unknown_fields=True):
    """What a call costs whose prompt has more than ``above`` tokens."""

    above: Tokens
    input: Usd
    output: Usd
    cached_input: Usd | None = None
    cache_write: Usd | None = None
    cache_write_1h: Usd | None = None


Gives = Literal["chat", "embeddings", "images", "transcriptions", "sessions"]


class ListedPrice(Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars per million tokens, without discounts, for a thousand searches (``search``) and for a minute
    of sound that is told in seconds (``minute``); ``tiers``: how many
    times as much a service tier costs.
    ``gives``: what a model is asked for (``sessions``: realtime's). ``also``: dated names that cost the same; nothing
    else is guessed."""

    input: Usd
    output: Usd
    cached_input: Usd | None = None
    cache_write: Usd | None = None
    audio_input: Usd | None = None
    audio_output: Usd | None = None
    cached_audio_input: Usd | None = None
    image_input: Usd | None = None
    image_output: Usd | None = None
    search: Usd | None = None
    cache_write_1h: Usd | None = None
    long_context: ListedLong | None = None
    tiers: dict[str, Annotated[float, Meta(gt=0, le=100)]] = {}
    minute: Usd | None = None
    gives: Gives = "chat"
    also: list[str] = []


class Prices(Struct, frozen=True, forbid_unknown_fields=True):
    """``file_search``: a thousand searches of vector stores that lie at the vendor, whatever model makes them."""

    as_of: Day
    source: Web
    models: dict[str, ListedPrice]
    file_search: Usd | None = None


class Vendor(Struct, frozen=True, forbid_unknown_fields=True):
    """One file: which codec it speaks with, how, and what its models can do and cost."""

    dialect: Literal["openai", "azure", "anthropic", "gemini", "bedrock", "cohere"]
    wire: Wire
    thinking: Thinking | None = None
    models: Models | None = None
    prices: Prices | None = None

    def faults(self) -> Iterator[str]:
        """What a schema cannot say."""
        if self.dialect == "openai" and not self.wire.base_url.startswith(("https://", "http://127.0.0.1:")):
            yield "wire: a vendor that speaks OpenAI's dialect has a base_url"
        for part in ("models", "prices"):
            listed: Models | Prices | None = getattr(self, part)
            names = [
                name for key, one in (listed.models.items() if listed else ()) for name in (key, *one.also)
            ]
            for name in {name for name in names if names.count(name) > 1}:
                yield f"{part}: '{name}' is there twice"
        for name, one in (self.models.models if self.models else {}).items():
            if one.max_output is not None and one.max_output > one.context_window:
                yield f"models: '{name}' answers more than its context holds"
        for name, price in (self.prices.models if self.prices else {}).items():
            if price.cached_input is not None and price.cached_input > price.input:
                yield f"prices: '{name}' costs more from a cache than without"
        if self.thinking is not None and (not self.thinking.models or self.thinking.models[-1].match != "*"):
            yield "thinking: the last entry must match every model ('*')"
