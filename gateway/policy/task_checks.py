"""Checks of tasks and policies: who answers, what matches, and what may be learnt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gateway.config import CandidateRef, Policy, Task
from gateway.policy import routing_checks
from gateway.policy.convert import did_you_mean
from gateway.policy.reading import Path, Problem
from gateway.policy.view import View
from gateway.providers import ClassifierProvider
from optimizer.routing.strategies import Weighted

_FINGERPRINT = re.compile(r"[0-9a-f]{16}\Z")


def policies(view: View) -> Iterator[Problem]:
    for path, policy in view.clean("policies"):
        yield from _candidates(view, path, policy.candidates)
        yield from routing_checks.policy(view, path, policy)
        if isinstance(policy.strategy, Weighted):
            yield from _weights(view, path, policy, policy.strategy)


def _weights(view: View, path: Path, policy: Policy, strategy: Weighted) -> Iterator[Problem]:
    listed = {one.candidate.name for one in policy.candidates}
    for name, weight in strategy.weights.items():
        here = (*path, "strategy", "weights", name)
        if listed and name not in listed:
            yield view.problem(
                here, f"no candidate of this policy is named '{name}'.", did_you_mean(name, listed)
            )
        if weight < 0:
            yield view.problem(
                here, "a weight must not be negative.", "Use 0 to keep a candidate as fallback only."
            )
    if listed and all(strategy.weights.get(name, 1.0) == 0 for name in listed):
        message = "all weights are 0, so no candidate would ever be first."
        yield view.problem((*path, "strategy", "weights"), message, "Give one a weight above 0.")


def _candidates(view: View, path: Path, candidates: list[CandidateRef]) -> Iterator[Problem]:
    for index, one in enumerate(candidates):
        here = (*path, "candidates", index)
        yield from _provider_named(view, (*here, "provider"), one.provider)
        if not one.model.strip():
            yield view.problem((*here, "model"), "the model must not be empty.")
        provider = view.config.providers.get(one.provider)
        if isinstance(provider, ClassifierProvider) and one.model not in view.names("tasks"):
            message = f"students are named by their task, and no task is named '{one.model}'."
            yield view.problem((*here, "model"), message, did_you_mean(one.model, view.names("tasks")))
        yield from routing_checks.variant(view, here, one, candidates[:index])


def _provider_named(view: View, path: Path, name: str) -> Iterator[Problem]:
    if name not in view.names("providers"):
        hint = did_you_mean(name, view.names("providers")) or "Add it to 'providers:' in gateway.yaml."
        yield view.problem(path, f"no provider is named '{name}'.", hint)


def tasks(view: View) -> Iterator[Problem]:
    policies = {one.name: one for one in view.config.policies}
    for path, task in view.clean("tasks"):
        if task.policy is not None and task.policy not in view.names("policies"):
            hint = did_you_mean(task.policy, view.names("policies")) or "Add it to 'policies:'."
            yield view.problem((*path, "policy"), f"no policy is named '{task.policy}'.", hint)
        if task.policy is not None and task.candidates:
            hint = "Keep the policy, or list the candidates here."
            yield view.problem(
                (*path, "candidates"), "a task names a policy or lists candidates, not both.", hint
            )
        yield from _candidates(view, path, task.candidates)
        yield from routing_checks.rules(view, path, task)
        yield from routing_checks.defaults(view, path, task)
        if task.teacher is not None:
            yield from _provider_named(view, (*path, "teacher", "provider"), task.teacher.provider)
        for index, name in enumerate(task.guardrails):
            if name not in view.names("guardrails"):
                hint = (
                    did_you_mean(name, view.names("guardrails")) or "Add it to 'guardrails:' in safety.yaml."
                )
                yield view.problem((*path, "guardrails", index), f"no guardrail is named '{name}'.", hint)
        if task.policy is None or task.policy in policies:
            yield from _someone_answers(view, path, task, policies)


def _someone_answers(
    view: View, path: Path, task: Task, policies: Mapping[str, Policy]
) -> Iterator[Problem]:
    """A task needs one candidate that may always answer: neither a student nor a disabled provider is one."""
    listed = task.candidates or (policies[task.policy].candidates if task.policy else [])
    providers = {one.provider for one in listed} | ({task.teacher.provider} if task.teacher else set())
    known = view.config.providers
    standing = {name for name in providers if not isinstance(known.get(name), ClassifierProvider)}
    if not standing:
        message = (
            f"nobody can answer task '{task.name}': it has no teacher and no candidate besides students."
        )
        yield view.problem(
            path, message, "Give it 'teacher:', 'candidates:' or a policy that lists candidates."
        )
    elif standing <= view.disabled:
        variables = sorted({f"${name}" for name in _unset_of(view, standing)})
        message = (
            f"nobody can answer task '{task.name}': {' and '.join(variables)} is not set in the environment."
        )
        yield view.problem(path, message, "Set it, or give the task another candidate.")


def _unset_of(view: View, providers: set[str]) -> Iterator[str]:
    for path, variable in view.source.unset.items():
        if len(path) > 1 and path[0] == "providers" and path[1] in providers:
            yield variable


def matches(view: View) -> Iterator[Problem]:
    seen: dict[tuple[str, str | None, str | None], str] = {}
    for path, task in view.clean("tasks"):
        for index, match in enumerate(task.match):
            here = (*path, "match", index)
            if not match.model.strip() or match.model != match.model.strip():
                yield view.problem((*here, "model"), "name the model exactly as clients send it.")
            if match.system_prefix is not None and not match.system_prefix.strip():
                message = "an empty prefix matches every prompt."
                yield view.problem(
                    (*here, "system_prefix"), message, "Leave the field out to match by model alone."
                )
            if match.fingerprint is not None and not _FINGERPRINT.match(match.fingerprint):
                hint = "Copy it from the admin page or from a call's record."
                yield view.problem(
                    (*here, "fingerprint"), "a fingerprint is 16 hex digits in lower case.", hint
                )
            rule = (match.model, match.system_prefix, match.fingerprint)
            if rule in seen:
                message = f"task '{seen[rule]}' matches exactly the same calls."
                yield view.problem(here, message, "Tell the two apart by system_prefix or fingerprint.")
            seen.setdefault(rule, task.name)


def learning(view: View) -> Iterator[Problem]:
    for path, task in view.clean("tasks"):
        learn = task.learn
        if learn is None:
            continue
        here = (*path, "learn")
        if task.teacher is None:
            yield view.problem(
                here, "a task that learns needs a teacher.", "Add 'teacher: {provider, model, ...}'."
            )
        elif not task.teacher.may_train_on_outputs:
            message = (
                "a student is trained on the teacher's answers, and some providers' terms forbid that for"
                " some uses: the operator has to say that they allow it here."
            )
            hint = "Read the terms, then set teacher.may_train_on_outputs: true."
            yield view.problem((*path, "teacher"), message, hint)
        if task.capture is None:
            hint = "Add 'capture: {rate: 1.0}'."
            yield view.problem(here, "a task that learns needs captured calls.", hint)
        elif task.capture.rate == 0:
            message = "a task that learns captures nothing at rate 0."
            yield view.problem((*path, "capture", "rate"), message, "Raise the rate or remove 'learn:'.")
        if learn.margin >= learn.target:
            yield view.problem((*here, "margin"), "the margin must be smaller than the target.")
        if learn.min_calls > learn.max_calls:
            yield view.problem((*here, "min_calls"), f"min_calls is above max_calls ({learn.max_calls:,}).")
