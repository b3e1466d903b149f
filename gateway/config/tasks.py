"""Tasks, and the policies that choose their candidates."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from gateway.config.learning import Capture, Learn, Match, Teacher, Watch
from gateway.config.limits import Limits
from gateway.config.models import CandidateRef, Defaults
from gateway.config.serving import Hedge, SemanticCache, Structured
from gateway.config.values import Name, Node
from optimizer.routing.attempts import FailureKind
from optimizer.routing.facts import Constraints
from optimizer.routing.objective import Measure, Objective
from optimizer.routing.rules import When
from optimizer.routing.strategies import Ordered, StrategySettings


class Rule(Node, frozen=True):
    """Calls that ``when`` fits fall under ``policy`` instead of the task's own."""

    policy: Name
    when: When = field(default_factory=When)


class Task(Node, frozen=True):
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
    semantic_cache: SemanticCache | None = None
    guardrails: list[str] = []
    limits: Limits | None = None
    fallback_on: list[FailureKind] | None = None
    """What another candidate is asked after; None: as the policy says, else ``optimizer.routing.attempts.FALLBACK``."""
    structured: Structured | None = None


class Policy(Node, frozen=True):
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
    structured: Structured | None = None
    hedge: Hedge | None = None
