"""The configuration: one frozen, typed tree. ``gateway.policy.files`` reads it from ``policies/*.yaml``.

Every Struct forbids unknown fields, so a typing error in a policy is an error with a file and a line and never
a silent default.
"""

from __future__ import annotations

from typing import Literal

from msgspec import field

from gateway.config.learning import (
    CanaryRules,
    Candidates,
    Capture,
    Cluster,
    Discover,
    Distillation,
    Drift,
    Ensemble,
    EnsembleJudge,
    FineTune,
    FineTuning,
    Generative,
    Judge,
    Learn,
    Match,
    Preferences,
    Promotion,
    Search,
    ShadowRules,
    Synthetic,
    Teacher,
    Trainer,
    Watch,
)
from gateway.config.limits import Alerts, Dollars, Limited, LimitRules, Limits, YamlKey
from gateway.config.models import CandidateRef, Defaults, LongContext, Model, Price, Surface
from gateway.config.prompts import Prompt, PromptTurn, PromptVersion
from gateway.config.serving import (
    Backup,
    Batches,
    Cache,
    ClassifierEngine,
    Engines,
    Files,
    HealthCheck,
    Hedge,
    Idempotency,
    Mcp,
    Retries,
    SemanticCache,
    Server,
    Spool,
    Structured,
    Timeouts,
    TransformersEngine,
    UpstreamRules,
    VectorStores,
    VllmEngine,
    Way,
    Webhook,
)
from gateway.config.tasks import Policy, Rule, Task
from gateway.config.values import Count, Name, Node, OpenShare, Positive, Share
from gateway.guardrails import GuardrailSettings
from gateway.providers import ProviderSettings

__all__ = [
    "Alerts",
    "Backup",
    "Batches",
    "Cache",
    "CanaryRules",
    "CandidateRef",
    "Candidates",
    "Capture",
    "ClassifierEngine",
    "Cluster",
    "Config",
    "Count",
    "Defaults",
    "Discover",
    "Distillation",
    "Dollars",
    "Drift",
    "Engines",
    "Ensemble",
    "EnsembleJudge",
    "Files",
    "FineTune",
    "FineTuning",
    "Generative",
    "HealthCheck",
    "Hedge",
    "Idempotency",
    "Judge",
    "Learn",
    "LimitRules",
    "Limited",
    "Limits",
    "LongContext",
    "Match",
    "Model",
    "Name",
    "OpenShare",
    "Policy",
    "Positive",
    "Preferences",
    "Price",
    "Promotion",
    "Prompt",
    "PromptTurn",
    "PromptVersion",
    "Retries",
    "Rule",
    "Search",
    "SemanticCache",
    "Server",
    "ShadowRules",
    "Share",
    "Spool",
    "Structured",
    "Surface",
    "Synthetic",
    "Task",
    "Teacher",
    "Timeouts",
    "Trainer",
    "TransformersEngine",
    "UpstreamRules",
    "VectorStores",
    "VllmEngine",
    "Watch",
    "Way",
    "Webhook",
    "YamlKey",
]


class Config(Node, frozen=True):
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
    backup: Backup = field(default_factory=Backup)
    cache: Cache = field(default_factory=Cache)
    idempotency: Idempotency = field(default_factory=Idempotency)
    files: Files = field(default_factory=Files)
    vector_stores: VectorStores = field(default_factory=VectorStores)
    mcp: Mcp = field(default_factory=Mcp)
    batches: Batches = field(default_factory=Batches)
    webhooks: list[Webhook] = []
    cluster: Cluster | None = None
    """None: the trainer's machine does everything."""
    trainer: Trainer = field(default_factory=Trainer)
    fine_tuning: FineTuning = field(default_factory=FineTuning)
    surface: Surface = field(default_factory=Surface)
    prompts: dict[Name, Prompt] = {}
    """Templates for the ``prompt`` parameter of the Responses API, by id."""
    prices: dict[str, dict[str, Price]] = {}
    models: dict[str, dict[str, Model]] = {}
    aliases: dict[str, str] = {}
    tasks: list[Task] = []
    discover: Discover | None = None
    """None: no call without a task is captured."""
    policies: list[Policy] = []
    guardrails: dict[str, GuardrailSettings] = {}
    templates: list[str] = []
    """Shipped sets of guardrails; their entries stand in ``guardrails``."""
    unjudged_sound: Literal["refuse", "allow"] = "refuse"
    """Whether a realtime session that guardrails concern may carry sound, which they cannot hear."""
    promotion: Promotion = field(default_factory=Promotion)
    digest: str = ""
    disabled_providers: tuple[str, ...] = ()
