"""LiteLLM's ``config.yaml`` as policies of ours (docs.litellm.ai, "Config.yaml" and "All settings").

A model group becomes a task whose candidates are its deployments, so clients keep sending the names they send.
What has no counterpart, or another one, is named with its place in the file: nothing is dropped in silence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from gateway.policy.imported import litellm_settings as settings
from gateway.policy.imported.carried import Carried, amount
from gateway.policy.imported.credentials import Credentials
from gateway.policy.imported.vendors import FROM_ENVIRONMENT, Named, Providers, named_of, variables_named

_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_DEFAULTS = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "presence_penalty", "frequency_penalty",
    "seed", "stop", "reasoning_effort", "verbosity", "service_tier",
)  # fmt: skip
_PRICES = ("input_cost_per_token", "output_cost_per_token")
_CACHE_PRICES = {
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
}
_SAID_ELSEWHERE = {
    "model", "custom_llm_provider", "api_key", "api_base", "base_url", "api_version", "organization",
    "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_region_name",
    "vertex_project", "vertex_location", "vertex_credentials", "rpm", "tpm", "weight",
    "input_cost_per_token", "output_cost_per_token", "region_name", "max_parallel_requests", "extra_headers",
    "drop_params", "order", "litellm_credential_name", *_DEFAULTS, *_CACHE_PRICES,
}  # fmt: skip
_INFO_READ = {
    "id", "mode", "description", "metadata", "created_at", "updated_at", "created_by", "updated_by", "db_model",
    "input_cost_per_token", "output_cost_per_token", "max_input_tokens", "max_output_tokens", *_CACHE_PRICES,
}  # fmt: skip
"""What of a ``model_info`` is carried over, or says nothing to a gateway."""
_CHAT = {"chat", "completion", "responses", ""}


class NotTheirs(ValueError):
    """The file is no configuration of LiteLLM's. The message is for people."""


def from_litellm(data: Any) -> Carried:
    """Everything of ``data`` (a parsed ``config.yaml``) that has a place here. Raises NotTheirs."""
    if not isinstance(data, Mapping) or not isinstance(data.get("model_list"), list):
        raise NotTheirs("it has no model_list: a LiteLLM configuration begins with one.")
    carried = Carried()
    theirs = settings.Theirs.of(data, carried)
    providers = Providers(carried, drop_params=theirs.drop_params, named_by_them=variables_named(data))
    groups = _Groups(carried, theirs, providers, Credentials(data))
    entries = [(entry, f"model_list[{index}]") for index, entry in enumerate(data["model_list"])]
    for entry, where in sorted(entries, key=lambda one: not _wild(one[0])):
        groups.add(entry, where)  # wildcards first: clients name their vendors, so these get the vendors' names
    groups.write()
    settings.carry(data, groups.candidates_of, carried)
    return carried


class _Group:
    """Deployments under one name, in the order they were written."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.candidates: list[dict[str, Any]] = []
        self.measures: list[Mapping[str, Any]] = []
        self.defaults: list[dict[str, Any]] = []
        self.mode = ""

    def weights(self) -> list[float]:
        """LiteLLM shares by the first of these that any deployment has; one without it gets nothing by itself. Only
        the lowest ``order`` has a share, the others are asked when it fails."""
        lowest = min(map(_order, self.measures), default=math.inf)
        first = [_order(params) == lowest for params in self.measures]
        for name in ("weight", "rpm", "tpm"):
            found = [
                (amount(one.get(name)) or 0) if counts else 0
                for one, counts in zip(self.measures, first, strict=True)
            ]
            if any(found):
                return found
        return [int(counts) for counts in first]

    def ordered(self) -> bool:
        return len({_order(params) for params in self.measures}) > 1

    def sort(self) -> None:
        """Candidates of a lower ``order`` come first."""
        at = sorted(range(len(self.measures)), key=lambda index: _order(self.measures[index]))
        self.candidates = [self.candidates[index] for index in at]
        self.measures = [self.measures[index] for index in at]


class _Groups:
    def __init__(
        self, carried: Carried, theirs: settings.Theirs, providers: Providers, credentials: Credentials
    ) -> None:
        self._carried, self._theirs, self._providers = carried, theirs, providers
        self._credentials = credentials
        self._groups: dict[str, _Group] = {}
        self._wildcards: dict[str, tuple[str, str]] = {}

    def add(self, entry: Any, where: str) -> None:
        params = entry.get("litellm_params") if isinstance(entry, Mapping) else None
        name = str(entry.get("model_name") or "") if isinstance(entry, Mapping) else ""
        if not name or not isinstance(params, Mapping):
            self._carried.leave(where, "it has no model_name or no litellm_params")
            return
        at = f"{where}.litellm_params"
        if missing := self._credentials.missing(params):
            self._carried.leave(f"{at}.litellm_credential_name", f"it is not in credential_list: set {missing}")
        params = self._credentials.opened(params)
        info = entry.get("model_info")
        info = info if isinstance(info, Mapping) else {}
        found = self._named(params, info, at)
        provider = None if found is None else self._providers.named(found, params, at)
        if found is None or provider is None:
            return
        model = found.model
        self._facts(provider, model, params, info, at)
        for field in sorted(set(params) - _SAID_ELSEWHERE):
            self._carried.leave(f"{at}.{field}", settings.why_not(field))
        for field in sorted(map(str, set(info) - _INFO_READ)):
            self._carried.leave(f"{where}.model_info.{field}", settings.why_not_known(field))
        if "*" in name:
            self._wildcards[name] = provider, model
            self._carried.leave(where, f"no entry is needed: clients may name any model as {provider}/MODEL")
            return
        self._deployment(name, provider, model, params, info)

    def _named(self, params: Mapping[str, Any], info: Mapping[str, Any], where: str) -> Named | None:
        """Whose model it is; None, and told, when the file does not say."""
        model = str(params.get("model") or "")
        found = None if model.startswith(FROM_ENVIRONMENT) else named_of(params, str(info.get("mode") or ""))
        if model.startswith(FROM_ENVIRONMENT):
            why = f"its name is in the variable {model.removeprefix(FROM_ENVIRONMENT)}: write it into the file"
        elif found is None:
            why = f"'{model}' does not say whose model it is: write VENDOR/{model or 'MODEL'}"
        elif not found.model:
            why = f"'{model}' names no model"
        else:
            return found
        self._carried.leave(f"{where}.model", why)
        return None

    def _deployment(
        self, name: str, provider: str, model: str, params: Mapping[str, Any], info: Mapping[str, Any]
    ) -> None:
        group = self._groups.setdefault(name, _Group(name))
        candidate = {"provider": provider, "model": model}
        if params.get("region_name"):
            candidate["region"] = str(params["region_name"])
        group.mode = group.mode or str(info.get("mode") or "")
        if candidate not in group.candidates:
            group.candidates.append(candidate)
            group.measures.append(params)
            group.defaults.append({one: params[one] for one in _DEFAULTS if params.get(one) is not None})

    def _facts(
        self, provider: str, model: str, params: Mapping[str, Any], info: Mapping[str, Any], where: str
    ) -> None:
        """Prices per token become prices per million; windows go to ``models``."""
        said = {name: params.get(name, info.get(name)) for name in (*_PRICES, *_CACHE_PRICES)}
        cost = {name: amount(value) for name, value in said.items()}
        for name in [name for name, value in said.items() if value is not None and cost[name] is None]:
            self._carried.leave(f"{where}.{name}", f"'{said[name]}' is no number: prices: in gateway.yaml")
        if all(cost[name] is not None for name in _PRICES):
            ours = {name: name.split("_", 1)[0] for name in _PRICES} | _CACHE_PRICES
            price = {ours[name]: round(value * 1e6, 9) for name, value in cost.items() if value is not None}
            self._carried.section("prices").setdefault(provider, {})[model] = price
        window = {
            ours: int(size)
            for ours, name in (("context_window", "max_input_tokens"), ("max_output", "max_output_tokens"))
            if (size := amount(info.get(name)))
        }
        if window:
            self._carried.routing.setdefault("models", {}).setdefault(provider, {})[model] = window
        if bound := int(amount(params.get("max_parallel_requests")) or 0):
            self._carried.section("upstreams")[provider] = {"max_concurrent": bound}
            self._carried.leave(
                f"{where}.max_parallel_requests", f"it bounds the whole provider '{provider}' here"
            )

    def write(self) -> None:
        """Tasks for the chat groups, aliases for the others, a policy where a strategy is needed."""
        taken: set[str] = set()
        for group in self._groups.values():
            group.sort()
            if group.mode not in _CHAT:
                self._alias(group)
                continue
            task = _free(_NAME.sub("-", group.name).strip("-._")[:60] or "model", taken)
            taken.add(task)
            if task != group.name and not self._addressed_already(group):
                self._carried.routing.setdefault("aliases", {})[group.name] = task
            self._task(group, task)

    def _addressed_already(self, group: _Group) -> bool:
        first = group.candidates[0]
        return group.name == f"{first['provider']}/{first['model']}"

    def _alias(self, group: _Group) -> None:
        first = group.candidates[0]
        target = f"{first['provider']}/{first['model']}"
        if group.name != target:
            self._carried.routing.setdefault("aliases", {})[group.name] = target
        for _ in group.candidates[1:]:
            self._carried.leave(
                f"model group '{group.name}'", f"{group.mode} is served by one provider here, the first"
            )

    def _task(self, group: _Group, name: str) -> None:
        spare, kinds = self._spare(group)
        own, everybody = group.candidates, [*group.candidates, *spare]
        task: dict[str, Any] = {"name": name}
        strategy = self._theirs.strategy
        if group.ordered() and strategy != "weighted":
            why = f"the order of its deployments does not count under {strategy}"
            self._carried.leave(f"model group '{group.name}'", why)
        if len(own) > 1 and spare and strategy in ("least_latency", "least_cost"):
            self._carried.leave(
                f"model group '{group.name}'", f"its fallbacks are ranked beside it under {strategy}"
            )
        if len(own) == 1:
            strategy = "ordered"
        if strategy == "ordered":
            task["candidates"] = everybody
        else:
            task["policy"] = name
            how: Any = strategy
            if strategy == "weighted":
                weights = dict(zip(map(_called, own), group.weights(), strict=True))
                how = {"type": "weighted", "weights": weights | {_called(one): 0 for one in spare}}
            policy = {"name": name, "strategy": how, "candidates": everybody}
            self._carried.routing.setdefault("policies", []).append(policy)
        if kinds:
            task["fallback_on"] = kinds
        self._defaults(group, task)
        self._carried.routing.setdefault("tasks", []).append(task)

    def _spare(self, group: _Group) -> tuple[list[dict[str, Any]], list[str]]:
        """The candidates of the groups that it falls back to, and after which failures beyond the usual ones."""
        found: list[dict[str, Any]] = []
        kinds: list[str] = []
        for kind, table in self._theirs.fallbacks.items():
            for other in table.get(group.name, table.get("*", ())):
                candidates = self.candidates_of(other)
                if not candidates:
                    self._carried.leave(f"fallbacks of '{group.name}'", f"there is no model group '{other}'")
                    continue
                found += [one for one in candidates if one not in [*group.candidates, *found]]
                if kind and kind not in kinds:
                    kinds.append(kind)
        return found, [*settings.USUAL_FALLBACK, *kinds] if kinds else []

    def candidates_of(self, name: str) -> list[dict[str, Any]]:
        """Who answers to a name of theirs: a group's deployments, or who a wildcard leads to."""
        if name in self._groups:
            return self._groups[name].candidates
        for pattern, (provider, model) in self._wildcards.items():
            before, _, after = pattern.partition("*")
            if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after):
                named = name[len(before) : len(name) - len(after)]
                return [{"provider": provider, "model": model.replace("*", named)}]
        return []

    def _defaults(self, group: _Group, task: dict[str, Any]) -> None:
        if any(one != group.defaults[0] for one in group.defaults):
            why = "its deployments have different decoding parameters; a task has one set of them"
            self._carried.leave(f"model group '{group.name}'", why)
        elif group.defaults[0]:
            stop = group.defaults[0].get("stop")
            task["defaults"] = group.defaults[0] | ({"stop": [stop]} if isinstance(stop, str) else {})


def _called(candidate: Mapping[str, Any]) -> str:
    return f"{candidate['provider']}/{candidate['model']}"


def _order(params: Mapping[str, Any]) -> float:
    order = params.get("order")
    return float(order) if isinstance(order, int | float) and not isinstance(order, bool) else math.inf


def _wild(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "*" in str(entry.get("model_name"))


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
