"""A call in flight. :class:`Exchange` is the one mutable object of the gateway; everything else is a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from gateway.config import Task
from gateway.guardrails import Scene
from gateway.protocol.answer import Answer, Chunk, ChunkStream, WholeAnswer
from gateway.protocol.chat import ChatRequest, Usage
from gateway.providers.free_text import has_custom
from gateway.runtime import Runtime
from gateway.storage.records import Attempt, spelled
from optimizer.routing.plan import Candidate, Plan, Rung

__all__ = ["Answer", "Chunk", "ChunkStream", "Exchange", "Finding", "Landing", "Principal", "Used", "WholeAnswer"]


class Principal(Struct, frozen=True):
    """Who a request is. ``models`` empty means all."""

    key_id: str
    project: str
    scopes: tuple[str, ...] = ("inference",)
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    budget_usd_day: float | None = None
    budget_usd_month: float | None = None


class Finding(Struct, frozen=True):
    """What a guardrail said about a text of a call. ``sample``: the text's beginning, masked; "" when it failed."""

    guardrail: str
    action: str
    place: str
    shadow: bool
    sample: str

    @property
    def spelled(self) -> str:
        """As it stands on its call."""
        return spelled(self.guardrail, self.action, self.shadow)


class Used(Struct, frozen=True):
    """What a part of a call used. ``usage`` None: nobody says it in tokens. ``by``: who did, where that is not the one
    that answers the call."""

    usage: Usage | None
    by: Candidate | None = None


class Landing(Protocol):
    """An answer on its way into the cache, past those who may still stop it. Either may be called again in vain."""

    def admit(self) -> None:
        """It reached its client."""

    def give_up(self, *, handed_over: bool) -> None:
        """It does not enter. ``handed_over``: nothing is wrong with the request; who waits for it may ask."""


class Given(Protocol):
    """A kept answer that is known before the call is looked at."""

    def answer(self, call: Exchange) -> WholeAnswer:
        """As ``call``'s own; ``call.shown`` is what is written of it, whole or as a stream, from then on."""


class Turns:
    """The turns of the model for one request, which counts once: as its last one ended. Whether a turn was the last is
    known after its end, and whoever counts may hear of it before that or later."""

    def __init__(self) -> None:
        self._waiting: tuple[str, Callable[[str], None]] | None = None
        self._last = self._status = ""

    def ended_well(self, call_id: str, count: Callable[[str], None]) -> None:
        """A turn ended with "ok"; ``count`` is called with how its request ended, if it was the last one. A turn that
        ended otherwise has ended its request."""
        if call_id == self._last:
            count(self._status)
        elif not self._last:
            self._waiting = call_id, count

    def over(self, call_id: str, status: str) -> None:
        """The request ended with the turn ``call_id``, or after it."""
        self._last, self._status = call_id, status
        if self._waiting is not None and self._waiting[0] == call_id:
            self._waiting[1](status)


class Exchange(Struct, eq=False):
    """One call on its way through the pipeline. Stages fill it from the outside in.

    ``started`` is monotonic seconds, ``received_at`` unix seconds. ``runtime`` is the immutable view of
    policies, keys and students the call was accepted under; it never changes beneath a call.
    """

    call_id: str
    request_id: str
    received_at: float
    started: float
    deadline: float
    headers: Mapping[str, str]
    body: dict[str, Any]
    request: ChatRequest
    runtime: Runtime
    endpoint: str = "chat"
    """The API the client speaks; ``body`` and ``request`` are in chat form whatever it is."""

    answered_here: bool = False
    """No provider is asked, so there is nothing to pay."""

    later_turn: bool = False
    """Whether this is a later turn of the model for a request whose first was let through: no request more."""

    sealed: Mapping[str, str] | None = None
    """What opens the MCP servers that the request names, by what stands in its place in ``body``; None: it names none.
    Providers alone are told."""

    lasts_s: float = 0.0
    """How long an answer may last, where that is longer than until ``deadline``: a realtime session's."""

    used: list[Used] = []
    """Of a call that lasts, what each of its responses used, and whoever else worked for it: each has a price of its
    own."""

    form: str = ""
    """How an answer that is no chat is told, where its endpoint and body leave that open."""

    batch: str = ""
    """The batch this call is a line of; "" for live traffic."""

    # authenticate
    principal: Principal | None = None
    # assign
    task: Task | None = None
    target: Candidate | None = None
    """The candidate a client named directly (``provider/model``, a bare model name); None for a task."""
    fingerprint: str = ""
    filled: frozenset[str] = frozenset()
    """What the task's defaults set, where the client said nothing."""
    ineligible: str = ""
    """Why no student may answer this request; "" when one may."""
    # route and dispatch
    plan: Plan | None = None
    answered_by: Rung | None = None
    attempts: list[Attempt] = []
    confidence: float | None = None
    student_ms: float = 0.0
    student_text: str = ""
    student_cost_usd: float | None = None
    asked: int = 1
    """How many asks side by side the answer is made of (``stages/several.py``)."""
    thoughts: list[Any] = []
    """The teacher's log-probabilities, token by token, where the capture asked for them."""
    custom_tools: bool | None = None
    """Whether the request offers custom tools or remembers calls of such; None while nobody had to know."""
    upstream_seconds: float = 0.0
    first_byte_at: float | None = None
    agreed: bool = False
    """The provider has agreed to stream, though it may still be thinking."""
    discarded: list[tuple[Candidate, Usage]] = []
    """Answers that were paid for and thrown away: (who gave it, what it used)."""
    # guard
    verdicts: list[str] = []
    """``guardrail:action``, and ``:shadow`` where nothing was done about it."""
    findings: list[Finding] = []
    watched: bool = False
    """Guardrails in shadow are asked beside the call, and may answer after its end."""
    late: Callable[[Finding], None] | None = None
    """Takes what they say then; None before the call has been recorded."""
    placeholders: dict[str, str] = {}
    foreign: tuple[str, ...] = ()
    """What the caller put into texts of the operator's, as it stands in ``body``."""
    documents: frozenset[str] = frozenset()
    """What the PDFs and Office documents in the request say, as it was judged."""
    scene: Scene | None = None
    """The request's texts, for guardrails that judge one in the light of the others; None when there is none such."""
    # cache
    cache: str = ""  # hit | stale | semantic | miss | ""
    spared: Candidate | None = None
    """Whose kept answer is given again."""
    landing: Landing | None = None
    """How the answer that is being asked for enters the cache; None when it does not."""
    given: Given | None = None
    """The kept answer to a request that came before, byte by byte (``caching/shortcuts.py``)."""
    # account
    usage: Usage | None = None
    cost_usd: float | None = None
    teacher_cost_usd: float | None = None
    prompt_cache_usd: float | None = 0.0
    """What the provider's own prompt cache took off ``cost_usd``."""
    response_headers: dict[str, str] = {}
    # record
    shown: bytes = b""
    """The whole answer as it was captured, under this call's id and the client's model; b"" when it was not."""
    turns: Turns | None = None
    """Where this call is a turn of the model for a request that may take several."""
    lost: Exception | None = None
    """Why a later turn cannot be asked: what its model wanted to know could not be looked up."""
    begun: Usage | None = None
    """What the provider had counted when it began to stream, where it tells; ``usage`` is known at the end."""
    sound_s: float = 0.0
    """How many seconds the sound of an upload may last, at most."""

    def has_custom_tools(self) -> bool:
        """Found out when the first attempt has to know, and not again by those after it: it takes a look at every
        message."""
        if self.custom_tools is None:
            self.custom_tools = has_custom(self.body)
        return self.custom_tools

    def agree(self) -> None:
        self.agreed = True

    @property
    def replayed(self) -> bool:
        """Whether the answer came out of a cache."""
        return self.cache in ("hit", "stale", "semantic")

    @property
    def session(self) -> str:
        metadata = self.request.metadata or {}
        return metadata.get("session_id") or metadata.get("session") or ""
