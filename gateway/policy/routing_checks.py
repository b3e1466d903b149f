"""Checks of what routing is told: aliases, rules, objectives, constraints and models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.config import CandidateRef, Config, Policy, Task
from gateway.policy.convert import did_you_mean
from gateway.policy.reading import Path, Problem
from gateway.policy.view import View
from optimizer.routing.rules import When
from optimizer.routing.strategies import Bandit, LeastCost, LeastLatency, Weighted

_SECRET = frozenset({"authorization", "api-key", "x-api-key", "cookie"})


def aliases(view: View) -> Iterator[Problem]:
    """An alias leads, by way of others perhaps, to a task or a candidate, and hides neither."""
    table = view.config.aliases
    tasks, providers = view.names("tasks"), view.names("providers")
    known = _served(view.config)
    for alias, target in table.items():
        here: Path = ("aliases", alias)
        if alias in tasks:
            yield view.problem(here, f"a task is named '{alias}' too.", "Give one of the two another name.")
        elif target in table:
            if _ring(table, alias):
                yield view.problem(here, f"the alias '{alias}' leads back to itself.")
        elif "/" in target and target.partition("/")[0] in providers:
            if not target.partition("/")[2].strip():
                yield view.problem(here, "the model must not be empty.")
        elif target not in tasks and target not in known:
            hint = did_you_mean(target, [*tasks, *known, *(name for name in table if name != alias)])
            yield view.problem(here, f"'{target}' is neither a task, an alias nor a model.", hint)


def _served(config: Config) -> set[str]:
    """Bare model names that somebody serves."""
    refs = [ref for task in config.tasks for ref in task.candidates]
    refs += [ref for policy in config.policies for ref in policy.candidates]
    teachers = {task.teacher.model for task in config.tasks if task.teacher is not None}
    priced = {name for table in config.prices.values() for name in table}
    return {ref.model for ref in refs} | teachers | priced


def _ring(table: Mapping[str, str], alias: str) -> bool:
    name, seen = alias, set[str]()
    while name in table and name not in seen:
        seen.add(name)
        name = table[name]
    return name == alias


def policy(view: View, path: Path, one: Policy) -> Iterator[Problem]:
    strategy, objective = one.strategy, one.objective
    decides = isinstance(strategy, LeastCost | LeastLatency | Bandit)
    if objective is not None and decides:
        message = "this strategy decides the order itself, so the objective would do nothing."
        yield view.problem((*path, "objective"), message, "Remove it, or use the strategy 'ordered'.")
    if one.objective_weights and objective != "weighted":
        hint = "Write 'objective: weighted', or remove them."
        yield view.problem((*path, "objective_weights"), "these weights are read by no objective.", hint)
    if objective == "weighted" and one.objective_weights and not any(one.objective_weights.values()):
        yield view.problem((*path, "objective_weights"), "all weights are 0, so nothing would be compared.")
    if one.sticky is not None and not isinstance(strategy, Weighted):
        message = "only the strategy 'weighted' can keep callers together: the others choose by other things."
        yield view.problem((*path, "sticky"), message, "Remove it, or use 'weighted'.")
    if isinstance(strategy, Bandit) and not any(
        (strategy.reward.success, strategy.reward.latency, strategy.reward.cost)
    ):
        message = "the reward weighs neither success, latency nor cost, so every answer is worth the same."
        yield view.problem((*path, "strategy", "reward"), message)
    yield from _constraints(view, path, one)


def _constraints(view: View, path: Path, one: Policy) -> Iterator[Problem]:
    limits = one.constraints
    if limits is None:
        return
    here = (*path, "constraints")
    regions = _regions(view.config, one)
    for index, region in enumerate(limits.regions):
        if regions and region not in regions:
            message = f"no candidate or model is in the region '{region}'."
            yield view.problem((*here, "regions", index), message, did_you_mean(region, regions))
    if limits.regions and not regions:
        hint = "Write 'region:' beside a candidate or under 'models:'."
        yield view.problem((*here, "regions"), "no candidate has a region, so none could be asked.", hint)
    if limits.min_quality_score and not _scored(view.config, one):
        hint = "Write 'quality:' beside a candidate or under 'models:'."
        message = "no candidate has a quality score, so none could be asked."
        yield view.problem((*here, "min_quality_score"), message, hint)


def _regions(config: Config, one: Policy) -> set[str]:
    own = {
        ref.region for ref in (*one.candidates, *(ref for task in config.tasks for ref in task.candidates))
    }
    return (own | {model.region for table in config.models.values() for model in table.values()}) - {""}


def _scored(config: Config, one: Policy) -> bool:
    refs = (*one.candidates, *(ref for task in config.tasks for ref in task.candidates))
    models = (model for table in config.models.values() for model in table.values())
    return any(ref.quality is not None for ref in refs) or any(model.quality is not None for model in models)


def variant(view: View, path: Path, one: CandidateRef, before: Sequence[CandidateRef]) -> Iterator[Problem]:
    """A variant has a name, which no other of its model has, and parameters of its own."""
    if one.parameters is not None and one.variant is None:
        hint = "Write for instance 'variant: cool' beside them; the figures are told by that name."
        yield view.problem((*path, "parameters"), "a candidate with parameters of its own needs a name.", hint)
    if one.variant is not None and one.parameters is None:
        yield view.problem((*path, "variant"), "a variant without 'parameters' differs in nothing.")
    if one.variant is not None and any(
        (other.provider, other.model, other.variant) == (one.provider, one.model, one.variant) for other in before
    ):
        yield view.problem((*path, "variant"), f"'{one.variant}' is listed twice for this model.")


def rules(view: View, path: Path, task: Task) -> Iterator[Problem]:
    """A rule that can never count is a mistake; so is one that names nobody."""
    policies = {one.name: one for one in view.config.policies}
    seen: list[tuple[When, int]] = []
    for index, rule in enumerate(task.rules):
        here = (*path, "rules", index)
        named = policies.get(rule.policy)
        if rule.policy not in view.names("policies"):
            hint = did_you_mean(rule.policy, view.names("policies")) or "Add it to 'policies:'."
            yield view.problem((*here, "policy"), f"no policy is named '{rule.policy}'.", hint)
        elif named is not None and not (named.candidates or task.candidates or task.teacher):
            message = f"policy '{rule.policy}' lists no candidates, and the task has none of its own."
            yield view.problem((*here, "policy"), message, "List candidates in one of the two.")
        for earlier, place in seen:
            if earlier in (When(), rule.when):
                message = f"this rule never counts: rules[{place}] before it fits all the same calls."
                yield view.problem(here, message, "Move it up, or remove one of the two.")
                break
        seen.append((rule.when, index))
        yield from _when(view, (*here, "when"), rule.when)


def _when(view: View, here: Path, when: When) -> Iterator[Problem]:
    if when.min_tokens is not None and when.max_tokens is not None and when.min_tokens > when.max_tokens:
        yield view.problem((*here, "min_tokens"), "min_tokens is above max_tokens, so this never fits.")
    if when.start is not None and when.start == when.end:
        yield view.problem((*here, "end"), "a span that ends when it starts never fits.")
    for name in when.header:
        if name.lower() in _SECRET:
            message = f"a rule must not look at '{name}': it holds a secret."
            yield view.problem((*here, "header", name), message, "Name the key under 'key:'.")
    try:
        ZoneInfo(when.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = "Use a name such as Europe/Berlin; the system's time zone data must be installed."
        yield view.problem((*here, "timezone"), f"'{when.timezone}' is not a known time zone.", hint)


def defaults(view: View, path: Path, task: Task) -> Iterator[Problem]:
    one = task.defaults
    if one is not None and one.max_tokens is not None and one.max_completion_tokens is not None:
        message = "max_tokens and max_completion_tokens are the same limit."
        yield view.problem((*path, "defaults", "max_tokens"), message, "Keep max_completion_tokens.")


def models(view: View) -> Iterator[Problem]:
    for provider, table in view.config.models.items():
        if provider not in view.names("providers"):
            hint = did_you_mean(provider, view.names("providers"))
            yield view.problem(("models", provider), f"no provider is named '{provider}'.", hint)
        for name, model in table.items():
            window, most = model.context_window, model.max_output
            if window is not None and most is not None and most > window:
                message = "an answer cannot be longer than the context window."
                yield view.problem(("models", provider, name, "max_output"), message)
