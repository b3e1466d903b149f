"""Ways: the policies of each task with everything that is known beforehand, made once per configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import asdict

from gateway.config import CandidateRef, Config, Policy, Price, Task
from gateway.money.pricing import price_of
from gateway.providers import ClassifierProvider
from gateway.routing.abilities import model_of
from optimizer.routing.facts import Facts
from optimizer.routing.plan import Candidate
from optimizer.routing.rules import When
from optimizer.routing.strategies import Bandit, Cascade, LeastCost, LeastLatency, Ordered, StrategySettings

SWITCHED_OFF = "its provider has no API key and is switched off"


@dataclass(frozen=True, slots=True)
class Way:
    """One policy as it applies to one task. ``known`` holds what does not change from call to call; a call adds
    costs when ``costed`` and latencies when ``timed``, and counts its needs when ``judged``."""

    policy: Policy
    scope: str
    candidates: tuple[Candidate, ...]
    strategy: StrategySettings
    known: Mapping[Candidate, Facts]
    prices: Mapping[Candidate, Price | None]
    costed: bool
    timed: bool
    judged: bool

    @property
    def settled(self) -> bool:
        """Whether every call without a student in its way is decided alike, whoever asks and whenever."""
        looks = self.costed or self.timed or self.judged
        plain = isinstance(self.strategy, Ordered | Cascade)
        return plain and not looks and self.policy.objective is None and not self.policy.sticky


@dataclass(frozen=True, slots=True)
class TaskWays:
    """``usual``, unless one of ``rules`` fits; the first that does counts. ``counted``: some rule asks for the
    request's tokens."""

    usual: Way
    rules: tuple[tuple[When, Way], ...]
    counted: bool


def ways_of(config: Config, policies: Mapping[str, Policy]) -> dict[str, TaskWays]:
    """The ways of every task. A policy that a rule names but nobody wrote is refused before we get here."""
    found = {}
    for task in config.tasks:
        rules = tuple(
            (rule.when, _way(config, task, policies[rule.policy]))
            for rule in task.rules
            if rule.policy in policies
        )
        usual = _way(config, task, policies.get(task.policy or ""))
        found[task.name] = TaskWays(usual, rules, any(when.counts for when, _ in rules))
    return found


def listed(task: Task, policy: Policy | None) -> tuple[CandidateRef, ...]:
    """The candidates of a task under a policy, its teacher as the last rung when it is not among them."""
    refs = tuple((policy.candidates if policy else []) or task.candidates)
    if task.teacher is None:
        return refs
    teacher = CandidateRef(task.teacher.provider, task.teacher.model)
    named = {ref.candidate for ref in refs}
    return refs if teacher.candidate in named else (*refs, teacher)


def parameters_of(config: Config, policies: Mapping[str, Policy]) -> dict[tuple[str, Candidate], dict[str, Any]]:
    """What each variant sets, by task and candidate."""
    found: dict[tuple[str, Candidate], dict[str, Any]] = {}
    for task in config.tasks:
        for name in (task.policy, *(rule.policy for rule in task.rules)):
            for ref in listed(task, policies.get(name or "")):
                if ref.parameters is not None:
                    said = {key: value for key, value in asdict(ref.parameters).items() if value is not None}
                    found[task.name, ref.candidate] = said
    return found


def _way(config: Config, task: Task, policy: Policy | None) -> Way:
    refs = {ref.candidate: ref for ref in listed(task, policy)}
    if policy is None:  # a task that learns and names no policy cascades, or its student could never serve
        policy = Policy(name="default", strategy=Cascade() if task.learn is not None else Ordered())
    limits, objective, strategy = policy.constraints, policy.objective, policy.strategy
    weighs = objective == "weighted"
    return Way(
        policy=policy,
        scope=f"{task.name}/{policy.name}" if isinstance(strategy, Bandit) else "",
        candidates=tuple(refs),
        strategy=strategy,
        known={one: _facts(config, one, ref) for one, ref in refs.items()},
        prices={one: _price(config, one) for one in refs},
        costed=objective == "min_cost"
        or weighs
        or isinstance(strategy, LeastCost)
        or (limits is not None and limits.max_cost_per_request_usd is not None),
        timed=objective == "min_latency"
        or weighs
        or isinstance(strategy, LeastLatency)
        or (limits is not None and limits.max_p95_latency_ms is not None),
        judged=limits is not None and limits.fit,
    )


def _facts(config: Config, candidate: Candidate, ref: CandidateRef) -> Facts:
    model = model_of(config.models, candidate.provider, _profile(config, candidate), candidate.model)
    off = candidate.provider in config.disabled_providers
    return Facts(
        context_window=model.context_window,
        max_output=model.max_output,
        cuts_output=cuts_output(config, candidate),
        capabilities=None if model.capabilities is None else frozenset(model.capabilities),
        region=ref.region or model.region,
        quality=ref.quality if ref.quality is not None else model.quality,
        off=SWITCHED_OFF if off else "",
    )


def most_output(config: Config, candidate: Candidate) -> int | None:
    """The most tokens that a candidate writes; None: nobody says."""
    return model_of(config.models, candidate.provider, _profile(config, candidate), candidate.model).max_output


def cuts_output(config: Config, candidate: Candidate) -> bool:
    """Whether a request for more tokens than that is brought into the candidate's range."""
    return bool(getattr(config.providers.get(candidate.provider), "drop_params", False))


def _price(config: Config, candidate: Candidate) -> Price | None:
    return price_of(config.prices, candidate.provider, _profile(config, candidate), candidate.model)


def _profile(config: Config, candidate: Candidate) -> str:
    settings = config.providers.get(candidate.provider)
    return "" if settings is None or isinstance(settings, ClassifierProvider) else settings.profile


def aliases_of(config: Config) -> dict[str, str]:
    """Each alias with the name at the end of its chain. A ring, which the checks refuse, ends where it closes."""
    found = {}
    for alias in config.aliases:
        name, seen = alias, {alias}
        while (target := config.aliases.get(name)) is not None and target not in seen:
            name = target
            seen.add(name)
        found[alias] = name
    return found
