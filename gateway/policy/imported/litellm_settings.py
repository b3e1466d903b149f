"""What LiteLLM's settings outside the model list mean here, or why they mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from gateway.access import admin_key
from gateway.policy.imported.carried import Carried, amount
from optimizer.routing.attempts import FALLBACK

USUAL_FALLBACK = FALLBACK
_STRATEGIES = {
    "simple-shuffle": "weighted",
    "latency-based-routing": "least_latency",
    "cost-based-routing": "least_cost",
}
_FALLBACKS = {
    "fallbacks": "",
    "context_window_fallbacks": "context_length",
    "content_policy_fallbacks": "content_filter",
}
_READ = {
    "litellm_settings": {
        "drop_params", "num_retries", "request_timeout", "cache", "cache_params", "default_fallbacks", *_FALLBACKS,
    },
    "router_settings": {
        "routing_strategy", "num_retries", "timeout", "model_group_alias", "default_fallbacks", *_FALLBACKS,
    },
    "general_settings": {"master_key"},
}  # fmt: skip
_WHY_NOT = {
    "timeout": "deadlines are the gateway's: timeouts: in gateway.yaml",
    "stream_timeout": "deadlines are the gateway's: timeouts: in gateway.yaml",
    "max_retries": "retries are the gateway's: retries: in gateway.yaml",
    "allowed_fails": "a breaker for each candidate is built in",
    "cooldown_time": "a breaker for each candidate is built in",
    "database_url": "set UNDERSTUDY_DATABASE_URL (an empty database: LiteLLM's has other tables)",
    "redis_host": "set UNDERSTUDY_REDIS_URL",
    "redis_port": "set UNDERSTUDY_REDIS_URL",
    "redis_password": "set UNDERSTUDY_REDIS_URL",
    "redis_url": "set UNDERSTUDY_REDIS_URL",
    "success_callback": "calls are recorded here; Prometheus reads /metrics",
    "failure_callback": "calls are recorded here; Prometheus reads /metrics",
    "callbacks": "calls are recorded here; Prometheus reads /metrics",
    "enable_pre_call_checks": "a policy with constraints: drops candidates that cannot hold a request",
    "alerting": "limits: {alerts: {webhook: …}} tells of budgets",
    "max_budget": "budgets belong to keys, projects and tasks: limits: and `understudy keys create`",
    "budget_duration": "budgets belong to keys, projects and tasks: limits: and `understudy keys create`",
    "allowed_fails_policy": "a breaker for each candidate is built in",
    "retry_policy": "retries are the gateway's: retries: in gateway.yaml",
    "model_group_retry_policy": "retries are the gateway's: retries: in gateway.yaml",
    "provider_budget_config": "budgets belong to keys, projects and tasks: limits: and `understudy keys create`",
    "default_team_settings": "a team is a project here: limits: {projects: …} and `understudy keys create --project`",
    "default_internal_user_params": "keys are made by `understudy keys create`, with limits and budgets",
    "max_parallel_requests": "calls at once: concurrency of keys, projects and tasks",
    "global_max_parallel_requests": "calls at once: max_concurrent of upstreams:",
    "background_health_checks": "upstreams: {NAME: {health: …}} looks at an address of a provider",
    "health_check_interval": "upstreams: {NAME: {health: …}} looks at an address of a provider",
    "store_model_in_db": "models are in the policies alone",
    "turn_off_message_logging": "texts are kept of tasks with capture: alone",
    "json_logs": "logs are JSON wherever they are no terminal's",
    "guardrails": "guardrails are written in safety.yaml (docs/guardrails.md)",
    "tenant_id": "no tokens are fetched from Entra ID here: the resource is asked with a key, AZURE_API_KEY",
    "client_id": "no tokens are fetched from Entra ID here: the resource is asked with a key, AZURE_API_KEY",
    "client_secret": "no tokens are fetched from Entra ID here: the resource is asked with a key, AZURE_API_KEY",
    "azure_ad_token": "no tokens are fetched from Entra ID here: the resource is asked with a key, AZURE_API_KEY",
    "aws_profile_name": "AWS's profiles are not read here: Bedrock is asked with access keys, or with api_key",
    "aws_role_name": "no role is assumed here: Bedrock is asked with access keys, or with api_key",
    "thinking": "clients say it, or the task's defaults: reasoning_effort",
    "set_verbose": "there is no such switch",
    "mock_response": "a simulated answer has no place in a gateway's policies",
}
_SECTIONS = {
    "environment_variables": "set them in the environment of the gateway",
    "guardrails": "guardrails are written in safety.yaml (docs/guardrails.md)",
    "mcp_servers": "tools are passed on; servers of tools are not kept here",
}


def why_not(field: str) -> str:
    """Why one of their settings is not carried over."""
    return _WHY_NOT.get(field, "it has no counterpart here")


def why_not_known(field: str) -> str:
    """The same of what a ``model_info`` says."""
    if field == "access_groups":
        return "a key names its models: keys: [{models: […]}] and `understudy keys create --models`"
    if field == "base_model":
        return "what it costs and can do is looked up by its own name: prices: and models: in the policies"
    if field.startswith("supports_") or field == "max_tokens":
        return "what a model can do is in the catalog, and under models: in the policies"
    return why_not(field)


class Theirs(Struct, frozen=True):
    """What of the settings the model groups need. ``fallbacks``: by the failure that leads to them ("" is any),
    the group names by group name; "*" is every group without its own."""

    drop_params: bool
    strategy: str
    fallbacks: Mapping[str, Mapping[str, list[str]]]

    @staticmethod
    def of(data: Mapping[str, Any], carried: Carried) -> Theirs:
        library, router = _map(data, "litellm_settings"), _map(data, "router_settings")
        named = str(router.get("routing_strategy") or "simple-shuffle")
        if named not in _STRATEGIES:
            carried.leave(
                "router_settings.routing_strategy",
                f"there is no '{named}' here; calls are shared by weight, rpm or tpm",
            )
        tables = {
            kind: _table(library.get(name)) | _table(router.get(name)) for name, kind in _FALLBACKS.items()
        }
        everywhere = router.get("default_fallbacks", library.get("default_fallbacks"))
        if isinstance(everywhere, list):
            tables[""] = {"*": [str(one) for one in everywhere]} | tables[""]
        return Theirs(
            drop_params=library.get("drop_params") is True,
            strategy=_STRATEGIES.get(named, "weighted"),
            fallbacks=tables,
        )


Answering = Callable[[str], list[dict[str, Any]]]
"""Who answers to a name of theirs."""


def carry(data: Mapping[str, Any], answering: Answering, carried: Carried) -> None:
    """The settings that are the whole gateway's, and a word on every one that is not carried."""
    library, router = _map(data, "litellm_settings"), _map(data, "router_settings")
    retries = amount(router.get("num_retries", library.get("num_retries")))
    if retries is not None:
        carried.section("retries")["attempts"] = min(10, max(1, int(retries) + 1))
    if total := amount(library.get("request_timeout", router.get("timeout"))):
        carried.section("timeouts")["total"] = float(total)
    _cache(library, carried)
    _aliases(router, answering, carried)
    _master_key(_map(data, "general_settings"), carried)
    for name, known in _READ.items():
        for field in sorted(map(str, set(_map(data, name)) - known)):
            carried.leave(f"{name}.{field}", why_not(field))
    for name in sorted(map(str, set(data) - set(_READ) - {"model_list", "credential_list"})):
        carried.leave(name, _SECTIONS.get(name, why_not(name)))


def _cache(library: Mapping[str, Any], carried: Carried) -> None:
    if library.get("cache") is not True:
        return
    if _map(library, "cache_params").get("mode") == "default_off":
        why = "nothing is cached there unless a request asks for it; 'cache: {enabled: true}' caches all of them"
        carried.leave("litellm_settings.cache", why)
        return
    cache = carried.section("cache")
    cache["enabled"] = True
    params = _map(library, "cache_params")
    if ttl := amount(params.get("ttl")):
        cache["ttl_s"] = float(ttl)
    if "semantic" in str(params.get("type")):
        carried.leave("litellm_settings.cache_params.type", "the exact cache is on; a semantic one is a task's own")
        params = {name: value for name, value in params.items() if name != "type"}
    for field in sorted(map(str, set(params) - {"ttl"})):
        carried.leave(
            f"litellm_settings.cache_params.{field}", "the cache is kept here by itself (docs/caches.md)"
        )


def _aliases(router: Mapping[str, Any], answering: Answering, carried: Carried) -> None:
    written = {task["name"] for task in carried.routing.get("tasks", ())}
    aliases = carried.routing.get("aliases", {})
    for alias, target in _map(router, "model_group_alias").items():
        name = target.get("model") if isinstance(target, Mapping) else target
        if not isinstance(name, str):
            carried.leave(f"router_settings.model_group_alias.{alias}", "it does not name one model group")
        elif name in written or name in aliases:
            carried.routing.setdefault("aliases", {})[str(alias)] = name
        elif found := answering(name):
            carried.routing.setdefault("aliases", {})[str(alias)] = f"{found[0]['provider']}/{found[0]['model']}"
        else:
            carried.leave(f"router_settings.model_group_alias.{alias}", f"there is no model group '{name}'")


def _master_key(general: Mapping[str, Any], carried: Carried) -> None:
    """Clients that use LiteLLM's master key go on with it as a key of ours; the page has a key of its own."""
    master = general.get("master_key")
    if not master:
        return
    if not str(master).startswith("os.environ/") and (weak := admin_key.weakness(str(master))):
        why = f"it is too weak for a key here ({weak}): make another with `understudy keys create`"
        carried.leave("general_settings.master_key", why)
        return
    name = (
        str(master).removeprefix("os.environ/")
        if str(master).startswith("os.environ/")
        else "LITELLM_MASTER_KEY"
    )
    carried.variables.setdefault(name, "what general_settings.master_key is: clients may go on using it")
    carried.gateway["keys"] = [{"name": "master", "key": f"${{{name}}}", "project": "default"}]
    carried.leave(
        "general_settings.master_key", "it is an ordinary key here; the admin page has UNDERSTUDY_ADMIN_KEY"
    )


def _map(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = data.get(name)
    return found if isinstance(found, Mapping) else {}


def _table(value: Any) -> dict[str, list[str]]:
    """``[{group: [others]}, …]`` as one map; people also write one map, and one name in the place of a list."""
    found: dict[str, list[str]] = {}
    for entry in value if isinstance(value, list) else (value,):
        for name, others in entry.items() if isinstance(entry, Mapping) else ():
            found[str(name)] = [str(one) for one in (others if isinstance(others, list) else [others])]
    return found
