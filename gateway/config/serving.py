"""How the gateway itself runs: its door, its upstreams, its spool, its caches and files."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from gateway.config.models import CandidateRef
from gateway.config.values import Count, Name, Node, OpenShare, Positive, Share
from optimizer.reuse.wording import GUARDS, Guard
from optimizer.scorers import Comparison


class Server(Node, frozen=True):
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    """Gateway processes behind the port; more than one need Redis."""
    max_body_bytes: Annotated[int, Meta(ge=1024)] = 16 * 1024 * 1024
    body_timeout_s: Positive = 30.0
    shutdown_s: Positive = 30.0
    allowed_hosts: list[str] = []
    """Host names accepted besides loopback and ``host``; exact, without port."""
    cors_origins: list[str] = []
    """Origins whose pages may call the API from a browser, such as ``https://app.example.com``; ``*``: all of them."""
    behind_tls: bool = False
    """Acknowledges that TLS ends in front of a public bind; cookies then carry Secure and ``__Host-``."""
    header_timeout_s: Positive = 10.0
    write_idle_s: Positive = 60.0
    """A client that takes nothing of its answer for so long is disconnected."""
    awake_us: Annotated[int, Meta(ge=0, le=1000)] = 100
    """Microseconds that the gateway looks around for the next event before it sleeps, while most come that soon."""
    ping_s: Positive = 15.0
    """A stream that is agreed but silent for so long carries a comment, so that no proxy cuts it."""
    max_connections: Annotated[int, Meta(ge=1)] = 1000
    max_connections_per_address: Annotated[int, Meta(ge=1)] = 100
    """Loopback is exempt: what stands in front of the gateway usually connects from there."""


class Timeouts(Node, frozen=True):
    """Seconds. ``total`` bounds one call over all its attempts."""

    connect: Positive = 5.0
    first_byte: Positive = 60.0
    chunk_gap: Positive = 60.0
    total: Positive = 600.0


class HealthCheck(Node, frozen=True):
    """``url`` is asked with GET, without credentials, every ``every_s`` seconds; any status below 500 is well.
    After ``failures`` in a row the provider is left out until it is well again."""

    url: Annotated[str, Meta(pattern=r"^https?://")]
    every_s: Positive = 10.0
    timeout_s: Positive = 2.0
    failures: Annotated[int, Meta(ge=1, le=100)] = 2


class UpstreamRules(Node, frozen=True):
    """The bounds of one provider. A call beyond ``max_concurrent`` waits, at most ``max_queue`` of them do."""

    max_concurrent: Annotated[int, Meta(ge=1)] = 512
    max_queue: Count = 512
    health: HealthCheck | None = None
    private_addresses: bool = False
    """Whether a public name of this provider may lead to a private or loopback address. Link-local ones, where clouds
    keep their metadata, never may."""


class Hedge(Node, frozen=True):
    """A second call when the first has said nothing for ``after_ms`` (by default: longer than 95 % of the recent
    calls took), for at most ``budget_share`` of the calls. Whoever is first answers, the other is hung up on."""

    after_ms: Positive | None = None
    budget_share: Annotated[float, Meta(gt=0, le=0.5)] = 0.05


class Structured(Node, frozen=True):
    """What the gateway does where a provider does not guarantee the form of an answer. ``enforce``: schemas with
    ``strict: true``, ``always`` those without it too, or ``never``. A stream is ``hold`` back until it is checked, or
    ``pass`` on and ended with an error. ``repair``: a wrong answer is shown to its author once."""

    enforce: Literal["strict", "always", "never"] = "strict"
    on_stream: Literal["hold", "pass"] = "hold"
    repair: bool = True


class Retries(Node, frozen=True):
    """``attempts`` counts all tries of a call. Full jitter: a sleep is uniform in [0, base · 2^(n-1)], capped."""

    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    base_s: Positive = 0.25
    cap_s: Positive = 8.0
    budget_share: Share = 0.1


class ClassifierEngine(Node, frozen=True):
    """The built-in engine. ``usd_per_cpu_hour`` prices a student's answers by the CPU time they took."""

    enabled: bool = True
    batch_window_ms: Annotated[float, Meta(ge=0, le=100)] = 1.0
    max_batch: Annotated[int, Meta(ge=1, le=4096)] = 64
    usd_per_cpu_hour: Annotated[float, Meta(ge=0)] = 0.05


class VllmEngine(Node, frozen=True):
    """vLLM, for adapters of one ``base``, in an environment of its own whose interpreter is ``python``.
    ``usd_per_hour`` prices a student's answers by their share of the engine's time."""

    base: str
    python: str
    max_adapters: Annotated[int, Meta(ge=1, le=256)] = 8
    max_rank: Annotated[int, Meta(ge=1, le=512)] = 64
    max_length: Annotated[int, Meta(ge=64)] = 2048
    usd_per_hour: Annotated[float, Meta(ge=0)] = 0.0
    arguments: list[str] = []
    """Passed on to vLLM as they are."""


class TransformersEngine(Node, frozen=True):
    """Language models on this machine without vLLM, weights merged; at most ``max_students`` in memory."""

    max_students: Annotated[int, Meta(ge=1, le=64)] = 2
    usd_per_hour: Annotated[float, Meta(ge=0)] = 0.0


class Engines(Node, frozen=True):
    classifier: ClassifierEngine = field(default_factory=ClassifierEngine)
    vllm: VllmEngine | None = None
    transformers: TransformersEngine | None = None

    def usd_per_hour(self, engine: str) -> float:
        """What an hour of an engine's time costs; that of the built-in engine is CPU time."""
        found = {"vllm": self.vllm, "transformers": self.transformers}.get(engine)
        return self.classifier.usd_per_cpu_hour if found is None else found.usd_per_hour


class Spool(Node, frozen=True):
    segment_bytes: Annotated[int, Meta(ge=4096)] = 8 * 1024 * 1024
    fsync_interval_s: Positive = 0.05
    ack: Literal["written", "durable"] = "written"
    reserve_bytes: Annotated[int, Meta(ge=4096)] = 1024 * 1024


class Backup(Node, frozen=True):
    """Checked copies of the SQLite database: every ``every_h`` hours (0: none), of which the ``keep`` newest stay."""

    every_h: Annotated[float, Meta(ge=0, le=720)] = 24.0
    keep: Annotated[int, Meta(ge=1, le=1000)] = 3


class Cache(Node, frozen=True):
    """The exact cache; off until a task or this section turns it on. Answers older than ``ttl_s`` are served for
    ``stale_s`` more seconds while a fresh one is asked for."""

    enabled: bool = False
    ttl_s: Positive = 3600.0
    stale_s: Annotated[float, Meta(ge=0)] = 0.0
    max_bytes: Annotated[int, Meta(ge=1024)] = 64 * 1024 * 1024


class Idempotency(Node, frozen=True):
    """What ``Idempotency-Key`` does: answers are repeated for ``ttl_s`` while they find room in ``max_bytes``; a
    request waits ``wait_s`` for an earlier one under its key."""

    enabled: bool = True
    ttl_s: Annotated[float, Meta(gt=0, le=86_400)] = 86_400.0
    wait_s: Positive = 10.0
    max_bytes: Annotated[int, Meta(ge=1024)] = 64 * 1024 * 1024


Way = Literal["exact", "faiss", "redis", "pgvector"]
"""How the nearest of many vectors is found."""


class SemanticCache(Node, frozen=True):
    """Reuse, for one task, of answers to questions that say the same in other words (docs/caches.md).

    ``delta``: the largest share of wrong answers among the hits; ``alpha``: the chance of opening although it is
    exceeded; ``reask_rate``: the share of possible hits that is asked all the same once it is open.
    """

    delta: OpenShare = 0.02
    alpha: OpenShare = 0.05
    reask_rate: OpenShare = 0.05
    average_run_length: Annotated[int, Meta(ge=100)] = 2000
    """Re-asked hits between false alarms, at least, while the share of wrong ones is within ``delta``."""
    encoder: str | None = None
    """A sentence encoder, by folder or name (docs/students.md); None: vectors of words and characters."""
    comparison: Comparison = "folded"
    """When two answers count as the same: how a fresh answer tells whether the kept one was right."""
    guards: list[Guard] = field(default_factory=lambda: list(GUARDS))
    max_entries: Annotated[int, Meta(ge=1, le=200_000)] = 2000
    """Kept questions of this task; ``cache.max_bytes`` bounds all tasks together. Above 20,000 not with ``exact``."""
    index: Way = "exact"
    """How the likest kept question is found: ``exact`` compares with all, ``faiss`` (extra ``vectors``) with the likest
    lists from 4,000 questions of one context on, ``redis`` asks the Redis (8 or later) of ``UNDERSTUDY_REDIS_URL``,
    ``pgvector`` the PostgreSQL of ``UNDERSTUDY_DATABASE_URL``."""


WebhookEvent = Literal[
    "fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled",
    "batch.completed", "batch.failed", "batch.expired", "batch.cancelled",
    "eval.run.succeeded", "eval.run.failed", "eval.run.canceled",
    "response.completed", "response.failed", "response.cancelled", "response.incomplete",
    "understudy.student.promoted", "understudy.student.waiting", "understudy.student.taken_back",
    "understudy.drift.detected", "understudy.teacher.retiring", "understudy.backup.failed",
]  # fmt: skip


class Files(Node, frozen=True):
    """Uploaded files and those that batches write; bytes."""

    max_bytes: Annotated[int, Meta(ge=1024)] = 512 * 1024 * 1024
    project_bytes: Annotated[int, Meta(ge=1024)] = 10 * 1024 * 1024 * 1024
    upload_bytes: Annotated[int, Meta(ge=1024)] = 8 * 1024 * 1024 * 1024
    """The largest file that may come in parts (``/v1/uploads``)."""


class Mcp(Node, frozen=True):
    """Servers of the Model Context Protocol that clients may have providers call."""

    hosts: list[Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$")]] = []
    """Host names, with the port where it is not 443; exact. Without any no client may name a server."""
    connectors: list[Annotated[str, Meta(pattern=r"^connector_[a-z0-9_]+$")]] = []
    """Those that OpenAI keeps to other services, by their ids; none unless listed."""


class VectorStores(Node, frozen=True):
    """``/v1/vector_stores``. ``model``: who embeds questions and chunks; None: words alone are compared.
    ``file_bytes``: the largest file that is taken in; ``project_bytes``: what a project's chunks and vectors take."""

    model: CandidateRef | None = None
    file_bytes: Annotated[int, Meta(ge=1024)] = 16 * 1024 * 1024
    project_bytes: Annotated[int, Meta(ge=1024)] = 2 * 1024 * 1024 * 1024
    most: Annotated[int, Meta(ge=1)] = 100
    """Stores of one project."""
    turns: Annotated[int, Meta(ge=1, le=50)] = 8
    """How often a model may search in one response, before it has to answer."""
    read_s: Annotated[int, Meta(ge=1, le=3600)] = 60
    """CPU seconds that reading a PDF or an Office document may take."""
    read_mb: Annotated[int, Meta(ge=128)] = 1024
    """Memory that reading one may take."""
    pages: Annotated[int, Meta(ge=1)] = 5000
    """The most pages of a PDF."""


class Webhook(Node, frozen=True):
    """Who is told what became of jobs, batches, background responses and students. ``secret`` (``whsec_`` and base64,
    or any text) signs what is sent. ``project`` None: those of all; ``events`` empty: all kinds."""

    url: Annotated[str, Meta(pattern="^https?://")]
    secret: Annotated[str, Meta(min_length=16)]
    project: Name | None = None
    events: list[WebhookEvent] = []


class Batches(Node, frozen=True):
    """``concurrency`` lines are asked at a time while there is no live traffic; each live call takes one away."""

    enabled: bool = True
    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 8
    open_per_project: Annotated[int, Meta(ge=1)] = 100
