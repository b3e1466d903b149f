"""The configuration: one frozen, typed tree. ``gateway.policy.files`` reads it from ``policies/*.yaml``.

Every Struct forbids unknown fields, so a typing error in a policy is an error with a file and a line and never
a silent default.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from gateway.guardrails import GuardrailSettings
from gateway.providers import ProviderSettings
from optimizer.gates import GateSettings
from optimizer.gates.agreement import Agreement
from optimizer.gates.latency import Latency
from optimizer.routing.attempts import FailureKind
from optimizer.routing.facts import Capability, Constraints
from optimizer.routing.objective import Measure, Objective
from optimizer.routing.rules import When
from optimizer.routing.strategies import Ordered, StrategySettings

Share = Annotated[float, Meta(ge=0, le=1)]
OpenShare = Annotated[float, Meta(gt=0, lt=1)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=0)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class _Node(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Server(_Node, frozen=True):
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    max_body_bytes: Annotated[int, Meta(ge=1024)] = 16 * 1024 * 1024
    body_timeout_s: Positive = 30.0
    shutdown_s: Positive = 30.0
    allowed_hosts: list[str] = []
    """Host names accepted besides loopback and ``host``; exact, without port."""
    behind_tls: bool = False
    """Acknowledges that TLS ends in front of a public bind; cookies then carry Secure and ``__Host-``."""
    header_timeout_s: Positive = 15.0
    write_idle_s: Positive = 60.0
    """A client that takes nothing of its answer for so long is disconnected."""
    ping_s: Positive = 15.0
    """A stream that is agreed but silent for so long carries a comment, so that no proxy cuts it."""
    max_connections: Annotated[int, Meta(ge=1)] = 1000
    max_connections_per_address: Annotated[int, Meta(ge=1)] = 100
    """Loopback is exempt: what stands in front of the gateway usually connects from there."""


class Timeouts(_Node, frozen=True):
    """Seconds. ``total`` bounds one call over all its attempts."""

    connect: Positive = 5.0
    first_byte: Positive = 60.0
    chunk_gap: Positive = 60.0
    total: Positive = 600.0


class HealthCheck(_Node, frozen=True):
    """``url`` is asked with GET, without credentials, every ``every_s`` seconds; any status below 500 is well.
    After ``failures`` in a row the provider is left out until it is well again."""

    url: Annotated[str, Meta(pattern=r"^https?://")]
    every_s: Positive = 10.0
    timeout_s: Positive = 2.0
    failures: Annotated[int, Meta(ge=1, le=100)] = 2


class UpstreamRules(_Node, frozen=True):
    """The bounds of one provider. A call beyond ``max_concurrent`` waits, at most ``max_queue`` of them do."""

    max_concurrent: Annotated[int, Meta(ge=1)] = 512
    max_queue: Count = 512
    health: HealthCheck | None = None


class Hedge(_Node, frozen=True):
    """A second call when the first has said nothing for ``after_ms`` (by default: longer than 95 % of the recent
    calls took), for at most ``budget_share`` of the calls. Whoever is first answers, the other is hung up on."""

    after_ms: Positive | None = None
    budget_share: Annotated[float, Meta(gt=0, le=0.5)] = 0.05


class Retries(_Node, frozen=True):
    """``attempts`` counts all tries of a call. Full jitter: a sleep is uniform in [0, base · 2^(n-1)], capped."""

    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    base_s: Positive = 0.25
    cap_s: Positive = 8.0
    budget_share: Share = 0.1


Limited = Annotated[int, Meta(ge=1, le=10**12)]
Dollars = Annotated[float, Meta(gt=0, le=1_000_000)]


class Limits(_Node, frozen=True):
    """What a scope may use; None is unlimited. Minutes slide; days and months are calendar ones in UTC."""

    requests_per_minute: Limited | None = None
    tokens_per_minute: Limited | None = None
    concurrency: Limited | None = None
    budget_usd_day: Dollars | None = None
    budget_usd_month: Dollars | None = None


class YamlKey(Limits, frozen=True, kw_only=True):
    """A virtual key written into the configuration; unlimited unless it says otherwise."""

    name: Name
    key: str
    project: Name = "default"
    models: list[str] = []


class Alerts(_Node, frozen=True):
    """A webhook that is told when a share of a budget is spent; ``secret`` signs what is sent."""

    webhook: str = ""
    secret: str = ""
    at: list[Annotated[float, Meta(gt=0, le=1)]] = field(default_factory=lambda: [0.5, 0.8, 1.0])


class LimitRules(_Node, frozen=True):
    """Limits by project; a task's own stand beside the task."""

    projects: dict[Name, Limits] = {}
    alerts: Alerts = field(default_factory=Alerts)


class ClassifierEngine(_Node, frozen=True):
    """The built-in engine. ``usd_per_cpu_hour`` prices a student's answers by the CPU time they took."""

    enabled: bool = True
    batch_window_ms: Annotated[float, Meta(ge=0, le=100)] = 1.0
    max_batch: Annotated[int, Meta(ge=1, le=4096)] = 64
    usd_per_cpu_hour: Annotated[float, Meta(ge=0)] = 0.05


class Engines(_Node, frozen=True):
    classifier: ClassifierEngine = field(default_factory=ClassifierEngine)


class Spool(_Node, frozen=True):
    segment_bytes: Annotated[int, Meta(ge=4096)] = 8 * 1024 * 1024
    fsync_interval_s: Positive = 0.05
    ack: Literal["written", "durable"] = "written"
    reserve_bytes: Annotated[int, Meta(ge=4096)] = 1024 * 1024


class Cache(_Node, frozen=True):
    """The exact cache; off until a task or this section turns it on."""

    enabled: bool = False
    ttl_s: Positive = 3600.0
    max_bytes: Annotated[int, Meta(ge=1024)] = 64 * 1024 * 1024


class Price(_Node, frozen=True):
    """US dollars per million tokens. ``cached_input`` None means cached tokens cost what input costs."""

    input: Annotated[float, Meta(ge=0)]
    output: Annotated[float, Meta(ge=0)]
    cached_input: Annotated[float, Meta(ge=0)] | None = None
    cache_write: Annotated[float, Meta(ge=0)] | None = None
    """Tokens written to a cache; None: what input costs."""
    batch: Share | None = None
    """What share of the price a line of a batch costs; None: all of it."""
    as_of: str = ""
    source: str = ""


class Files(_Node, frozen=True):
    """Uploaded files and those that batches write; bytes."""

    max_bytes: Annotated[int, Meta(ge=1024)] = 512 * 1024 * 1024
    project_bytes: Annotated[int, Meta(ge=1024)] = 10 * 1024 * 1024 * 1024


class Batches(_Node, frozen=True):
    """``concurrency`` lines are asked at a time while there is no live traffic; each live call takes one away."""

    enabled: bool = True
    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 8
    open_per_project: Annotated[int, Meta(ge=1)] = 100


class Model(_Node, frozen=True):
    """What a model is, as far as routing asks; None is unknown. ``region`` is a tag of the operator's choice."""

    context_window: Annotated[int, Meta(ge=1)] | None = None
    max_output: Annotated[int, Meta(ge=1)] | None = None
    capabilities: list[Capability] | None = None
    quality: Share | None = None
    region: str = ""
    as_of: str = ""
    source: str = ""


class CandidateRef(_Node, frozen=True):
    """``quality`` and ``region`` come before what ``models:`` says of the model."""

    provider: Name
    model: str
    quality: Share | None = None
    region: str = ""


class Surface(_Node, frozen=True):
    """Who serves what is not chat, when a client names a model that no task and no price list knows."""

    embeddings: Name | None = None
    moderations: CandidateRef | None = None
    images: Name | None = None
    audio: Name | None = None


class Teacher(_Node, frozen=True):
    """``may_train_on_outputs`` is the operator's word that the provider's terms allow it for this use."""

    provider: Name
    model: str
    may_train_on_outputs: bool = False


class Match(_Node, frozen=True):
    """How a client that keeps sending a plain model name reaches a task: every given field must match."""

    model: str
    system_prefix: str | None = None
    fingerprint: str | None = None


class Capture(_Node, frozen=True):
    rate: Share = 1.0
    mask: bool = True
    retention_days: Annotated[int, Meta(ge=1)] = 30


class Learn(_Node, frozen=True):
    """How a task learns. ``target``/``margin``/``alpha``/``delta`` are defined in ARCHITECTURE.md, "Statistics".

    ``min_calls`` captured calls start the first training; after that a retrain waits for ``min_new_calls``.
    """

    recipes: Literal["auto"] | list[Literal["classifier", "extractor"]] = "auto"
    calibration: Literal["split", "crossfit"] = "split"
    """``split`` keeps a quarter of the calls away from training to choose the threshold; ``crossfit`` trains on
    them too and chooses it from predictions by models that never saw the call."""
    encoder: str | None = None
    """The folder of a sentence encoder (docs/students.md); None: nothing but the calls themselves is used."""
    features: Literal["auto", "tfidf", "embedding", "both"] = "auto"
    """What a classifier looks at; ``auto``: both when there is an encoder, else ``tfidf``."""
    target: OpenShare = 0.95
    margin: OpenShare = 0.02
    alpha: OpenShare = 0.05
    delta: OpenShare = 0.05
    approval: Literal["manual", "automatic"] = "manual"
    min_calls: Annotated[int, Meta(ge=50)] = 1000
    min_new_calls: Annotated[int, Meta(ge=1)] = 500
    growth: Annotated[float, Meta(gt=1)] | None = None
    """A successor is trained once the captured calls have grown by this factor since the last run; None: only
    when one is asked for. The old student serves until its successor has passed the same gates."""
    max_calls: Annotated[int, Meta(ge=100)] = 50_000
    ceiling_rate: Share = 0.02
    """Share of the teacher's answers that are asked of the teacher twice, to measure its self-agreement."""
    ceiling_calls: Count = 300
    comparison: Literal["exact", "folded"] = "exact"
    seed: int = 0


class Watch(_Node, frozen=True):
    """``average_run_length``: re-asked calls between false alarms, at least, while agreement holds."""

    reask_rate: OpenShare = 0.03
    average_run_length: Annotated[int, Meta(ge=100)] = 10_000
    max_error_rate: Share = 0.05
    max_p95_latency_ms: Positive = 1000.0


class Defaults(_Node, frozen=True):
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


class Rule(_Node, frozen=True):
    """Calls that ``when`` fits fall under ``policy`` instead of the task's own."""

    policy: Name
    when: When = field(default_factory=When)


class Task(_Node, frozen=True):
    """Of ``rules`` the first that fits counts. A rule's policy without candidates orders the task's own."""

    name: Name
    policy: Name | None = None
    rules: list[Rule] = []
    defaults: Defaults | None = None
    candidates: list[CandidateRef] = []
    teacher: Teacher | None = None
    match: list[Match] = []
    capture: Capture | None = None
    learn: Learn | None = None
    watch: Watch = field(default_factory=Watch)
    cache: bool | None = None
    guardrails: list[str] = []
    limits: Limits | None = None
    fallback_on: list[FailureKind] | None = None
    """What another candidate is asked after; None: as the policy says, else ``optimizer.routing.attempts.FALLBACK``."""


class Policy(_Node, frozen=True):
    """Candidates that meet the ``constraints`` are put in order by the ``objective`` (without one, as they are
    written); then the ``strategy`` decides. ``sticky`` keeps a user or a conversation at one candidate."""

    name: Name
    strategy: StrategySettings = field(default_factory=Ordered)
    candidates: list[CandidateRef] = []
    objective: Objective | None = None
    objective_weights: dict[Measure, Annotated[float, Meta(ge=0)]] = {}
    constraints: Constraints | None = None
    sticky: Literal["user", "conversation"] | None = None
    fallback_on: list[FailureKind] | None = None
    hedge: Hedge | None = None


class ShadowRules(_Node, frozen=True):
    """``sample``: share of the teacher's answers that are copied to the student."""

    sample: Share = 1.0
    gates: list[GateSettings] = field(default_factory=lambda: [Agreement(), Latency()])


class CanaryRules(_Node, frozen=True):
    """``share`` of the eligible calls is served; ``reask_rate`` of the answered ones is asked of the teacher."""

    share: OpenShare = 0.05
    reask_rate: OpenShare = 0.5
    gates: list[GateSettings] = field(default_factory=lambda: [Agreement(), Latency()])


class Promotion(_Node, frozen=True):
    shadow: ShadowRules = field(default_factory=ShadowRules)
    canary: CanaryRules = field(default_factory=CanaryRules)


class Config(_Node, frozen=True):
    """Everything the policies folder says. ``digest`` is the hash of its files and is written on every call."""

    server: Server = field(default_factory=Server)
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: Retries = field(default_factory=Retries)
    providers: dict[str, ProviderSettings] = {}
    upstreams: dict[Name, UpstreamRules] = {}
    """Bounds by provider name."""
    keys: list[YamlKey] = []
    limits: LimitRules = field(default_factory=LimitRules)
    engines: Engines = field(default_factory=Engines)
    spool: Spool = field(default_factory=Spool)
    cache: Cache = field(default_factory=Cache)
    files: Files = field(default_factory=Files)
    batches: Batches = field(default_factory=Batches)
    surface: Surface = field(default_factory=Surface)
    prices: dict[str, dict[str, Price]] = {}
    models: dict[str, dict[str, Model]] = {}
    aliases: dict[str, str] = {}
    tasks: list[Task] = []
    policies: list[Policy] = []
    guardrails: dict[str, GuardrailSettings] = {}
    promotion: Promotion = field(default_factory=Promotion)
    digest: str = ""
    disabled_providers: tuple[str, ...] = ()
