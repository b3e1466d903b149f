"""What a configuration must hold beyond its shape: references, terms of learning, safe doors, sane prices."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.access import admin_key
from gateway.catalog import vendors
from gateway.config import CandidateRef, Config, Policy, Server, Task
from gateway.policy import (
    account_checks,
    generative_checks,
    guard_checks,
    promotion_checks,
    routing_checks,
    surface_checks,
)
from gateway.policy.convert import Converted, did_you_mean
from gateway.policy.reading import Path, Problem, Source
from gateway.protocol.chat import PRICED_TIERS
from gateway.providers import ClassifierProvider, OpenAIProvider, VertexProvider
from gateway.providers.credentials import ProviderKey
from gateway.providers.vendors import profile_of
from gateway.upstreams.addresses import AddressRefused, check_literal
from optimizer.routing.strategies import Weighted

DEAREST = 5_000.0
"""US dollars per million tokens; above it somebody mistook the unit."""

_SPACES = "a key must not contain spaces or line breaks."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_FINGERPRINT = re.compile(r"[0-9a-f]{16}\Z")
_HOST = re.compile(r"[A-Za-z0-9.-]+\Z")


def check(config: Config, source: Source, converted: Converted, env: Mapping[str, str]) -> list[Problem]:
    """Every problem of ``config``. What was not read cleanly was reported already and is not judged again."""
    view = _View(config, source, converted, env)
    parts: tuple[Callable[[_View], Iterator[Problem]], ...] = (
        _names, _providers, _upstreams, _keys, _policies, _tasks, _matches, _learning, _prices,
        promotion_checks.promotion, promotion_checks.judge, promotion_checks.slices,
        routing_checks.aliases, routing_checks.models, surface_checks.surface, surface_checks.alerts,
        surface_checks.encoders, surface_checks.prompts, surface_checks.origins, guard_checks.guardrails,
        generative_checks.generative, generative_checks.ensembles, generative_checks.synthetics,
        generative_checks.clusters,
    )  # fmt: skip
    problems = [problem for part in parts for problem in part(view)]
    why, hint = bind_problem(config.server, env)
    if why:
        problems.append(source.problem(("server", "host"), why, hint))
    problems.extend(_allowed_hosts(view))
    return problems


def is_loopback(host: str) -> bool:
    """True for ``localhost`` and addresses that only this machine can reach."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def bind_problem(server: Server, env: Mapping[str, str], host: str | None = None) -> tuple[str, str]:
    """``(message, hint)`` when the gateway must not listen on ``host``, else ("", "")."""
    address = host if host is not None else server.host
    if is_loopback(address):
        return "", ""
    missing = []
    if not server.behind_tls:
        missing.append("set server.behind_tls: true once TLS ends in front of the gateway")
    key = env.get(admin_key.VARIABLE, "")
    if not key:
        missing.append(f"set {admin_key.VARIABLE} to a long random text")
    elif admin_key.weakness(key):
        missing.append(f"choose a stronger {admin_key.VARIABLE}: {admin_key.weakness(key)}")
    if not missing:
        return "", ""
    message = f"'{address}' can be reached from other machines, so keys and texts would travel in the clear."
    return message, f"Use 127.0.0.1, or {' and '.join(missing)}."


class _View:
    """The configuration beside the raw data it was read from."""

    def __init__(self, config: Config, source: Source, converted: Converted, env: Mapping[str, str]) -> None:
        self.config, self.env = config, env
        self.source = source
        self.unclean = converted.unclean
        self.entries = converted.entries
        self.disabled = set(config.disabled_providers)

    def names(self, section: str) -> list[str]:
        """All names that are written in a section, those of broken entries too."""
        data = self.source.data.get(section)
        if isinstance(data, dict):
            return list(data)
        return [str(one["name"]) for _, one in self.written(section) if "name" in one]

    def written(self, section: str) -> Iterator[tuple[int, dict[str, Any]]]:
        data = self.source.data.get(section)
        for index, one in enumerate(data if isinstance(data, list) else []):
            if isinstance(one, dict):
                yield index, one

    def clean(self, section: str) -> Iterator[tuple[Path, Any]]:
        """The entries of a list section that were read without a mistake, with their paths."""
        for path, entry in self.entries.items():
            if path[0] == section and path not in self.unclean:
                yield path, entry

    def unset(self, path: Path) -> str:
        """The first variable at or below ``path`` that is not set in the environment, or ""."""
        found = (name for one, name in self.source.unset.items() if one[: len(path)] == path)
        return next(found, "")

    def problem(self, path: Path, message: str, hint: str = "") -> Problem:
        return self.source.problem(path, message, hint)


def _names(view: _View) -> Iterator[Problem]:
    for section, noun in (("tasks", "task"), ("policies", "policy"), ("keys", "key")):
        first: dict[str, Path] = {}
        for index, raw in view.written(section):
            name = raw.get("name")
            if not isinstance(name, str):
                continue
            path: Path = (section, index, "name")
            if name in first:
                file, line = view.source.place(first[name])
                message = f"a {noun} named '{name}' is already written at {file}:{line}."
                yield view.problem(path, message, "Give one of the two another name.")
            first.setdefault(name, path)
    for section in ("providers", "guardrails", "prices"):
        for name in view.names(section):
            if not _NAME.match(name):
                hint = "Use letters, digits, '.', '_' and '-', at most 64 characters."
                yield view.problem((section, name), f"'{name}' is not a name.", hint)


def _providers(view: _View) -> Iterator[Problem]:
    for name, provider in view.config.providers.items():
        path: Path = ("providers", name)
        if path in view.unclean or isinstance(provider, ClassifierProvider):
            continue
        if isinstance(provider, OpenAIProvider) and profile_of(provider.profile) is None:
            hint = did_you_mean(provider.profile, [name for name in vendors() if profile_of(name) is not None])
            yield view.problem((*path, "profile"), f"there is no vendor profile '{provider.profile}'.", hint)
        if provider.base_url:
            yield from _address(view, (*path, "base_url"), provider.base_url)
        if any(sign in provider.api_key for sign in "\r\n\0 "):
            yield view.problem((*path, "api_key"), _SPACES)
        if isinstance(provider, VertexProvider):
            yield from account_checks.problems(view, path, provider)
        yield from _provider_keys(view, path, provider.api_key, provider.api_keys)


def _provider_keys(view: _View, path: Path, first: str, more: list[str | ProviderKey]) -> Iterator[Problem]:
    seen = {first} - {""}
    for index, one in enumerate(more):
        key, here = one if isinstance(one, str) else one.key, (*path, "api_keys", index)
        if any(sign in key for sign in "\r\n\0 "):
            yield view.problem(here, _SPACES)
        if key in seen:
            yield view.problem(here, "this key is written twice.", "Leave one of the two out.")
        if not key and not view.unset(here):
            yield view.problem(here, "a key must not be empty.")
        seen |= {key} - {""}


def _upstreams(view: _View) -> Iterator[Problem]:
    for name, rules in view.config.upstreams.items():
        if name not in view.names("providers"):
            hint = did_you_mean(name, view.names("providers"))
            yield view.problem(("upstreams", name), f"there is no provider '{name}'.", hint)
        if rules.health is not None:
            yield from _place(view, ("upstreams", name, "health", "url"), rules.health.url)


def _address(view: _View, path: Path, address: str) -> Iterator[Problem]:
    try:
        parts = urlsplit(address)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        hint = "Write a whole address such as https://api.example.com/v1."
        yield view.problem(path, "this is not an http(s) address.", hint)
    elif parts.username or parts.password or parts.query:
        message = "an address must not carry a user, password or query."
        yield view.problem(path, message, "Put the credential into api_key.")
    else:
        yield from _place(view, path, address)


def _place(view: _View, path: Path, address: str) -> Iterator[Problem]:
    try:
        check_literal(address)
    except (AddressRefused, ValueError) as refused:
        hint = "Link-local and metadata addresses are never called."
        yield view.problem(path, f"{refused}.", hint)


def _keys(view: _View) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for path, key in view.clean("keys"):
        if key.key in seen:
            message = f"this key is the same as that of '{seen[key.key]}'."
            yield view.problem((*path, "key"), message, "Every key needs its own text.")
        seen.setdefault(key.key, key.name)
        why = admin_key.weakness(key.key)
        if why:
            hint = 'Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
            yield view.problem((*path, "key"), f"the key is too weak: {why}.", hint)


def _policies(view: _View) -> Iterator[Problem]:
    for path, policy in view.clean("policies"):
        yield from _candidates(view, path, policy.candidates)
        yield from routing_checks.policy(view, path, policy)
        if isinstance(policy.strategy, Weighted):
            yield from _weights(view, path, policy, policy.strategy)


def _weights(view: _View, path: Path, policy: Policy, strategy: Weighted) -> Iterator[Problem]:
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


def _candidates(view: _View, path: Path, candidates: list[CandidateRef]) -> Iterator[Problem]:
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


def _provider_named(view: _View, path: Path, name: str) -> Iterator[Problem]:
    if name not in view.names("providers"):
        hint = did_you_mean(name, view.names("providers")) or "Add it to 'providers:' in gateway.yaml."
        yield view.problem(path, f"no provider is named '{name}'.", hint)


def _tasks(view: _View) -> Iterator[Problem]:
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
    view: _View, path: Path, task: Task, policies: Mapping[str, Policy]
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
        variables = sorted({f"${name}" for name in _unset_of(view.source, standing)})
        message = (
            f"nobody can answer task '{task.name}': {' and '.join(variables)} is not set in the environment."
        )
        yield view.problem(path, message, "Set it, or give the task another candidate.")


def _unset_of(source: Source, providers: set[str]) -> Iterator[str]:
    for path, variable in source.unset.items():
        if len(path) > 1 and path[0] == "providers" and path[1] in providers:
            yield variable


def _matches(view: _View) -> Iterator[Problem]:
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


def _learning(view: _View) -> Iterator[Problem]:
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


def _prices(view: _View) -> Iterator[Problem]:
    for provider, table in view.config.prices.items():
        if provider not in view.names("providers"):
            hint = did_you_mean(provider, view.names("providers"))
            yield view.problem(("prices", provider), f"no provider is named '{provider}'.", hint)
        for model, price in table.items():
            here = ("prices", provider, model)
            for name in price.RATES:
                value = getattr(price, name)
                if value is not None and (not math.isfinite(value) or value > DEAREST):
                    message = f"{value:g} US dollars per million tokens cannot be right."
                    yield view.problem((*here, name), message, "Prices are per million tokens.")
            for tier in price.tiers:
                if tier not in PRICED_TIERS:
                    message = f"'{tier}' is no service tier with a price of its own."
                    hint = f"These are {' and '.join(sorted(PRICED_TIERS))}."
                    yield view.problem((*here, "tiers", tier), message, hint)
            if price.cached_input is not None and price.cached_input > price.input:
                yield view.problem((*here, "cached_input"), "cached tokens cannot cost more than fresh ones.")


def _allowed_hosts(view: _View) -> Iterator[Problem]:
    for index, host in enumerate(view.config.server.allowed_hosts):
        if not _HOST.match(host):
            hint = "Write the bare host name, such as llm.example.com."
            path: Path = ("server", "allowed_hosts", index)
            yield view.problem(path, f"'{host}' is not a host name without scheme and port.", hint)
