"""What one of several workers may take of a bound that all of them share and nobody counts together."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from gateway.config import Config, UpstreamRules
from gateway.providers.credentials import ProviderKey


def share_of(config: Config, workers: int) -> Config:
    """The configuration of one of ``workers`` processes: its part of connections, of calls at a provider and of what
    each of a provider's keys may do in a minute. Rounded up, so that every worker can serve."""
    if workers == 1:
        return config
    upstreams = {name: config.upstreams.get(name, UpstreamRules()) for name in config.providers}
    server = structs.replace(
        config.server,
        max_connections=_part(config.server.max_connections, workers),
        max_connections_per_address=_part(config.server.max_connections_per_address, workers),
    )
    parts = {name: _of_upstream(rules, workers) for name, rules in upstreams.items()}
    providers = {name: _of_keys(settings, workers) for name, settings in config.providers.items()}
    return structs.replace(config, server=server, upstreams=parts, providers=providers)


def _of_keys(settings: Any, workers: int) -> Any:
    keys = getattr(settings, "api_keys", ())
    if not any(isinstance(key, ProviderKey) for key in keys):
        return settings
    parts = [_of_key(key, workers) if isinstance(key, ProviderKey) else key for key in keys]
    return structs.replace(settings, api_keys=parts)


def _of_key(key: ProviderKey, workers: int) -> ProviderKey:
    requests, tokens = key.requests_per_minute, key.tokens_per_minute
    return structs.replace(
        key,
        requests_per_minute=_part(requests, workers) if requests is not None else None,
        tokens_per_minute=_part(tokens, workers) if tokens is not None else None,
    )


def _of_upstream(rules: UpstreamRules, workers: int) -> UpstreamRules:
    return structs.replace(
        rules, max_concurrent=_part(rules.max_concurrent, workers), max_queue=_part(rules.max_queue, workers)
    )


def _part(whole: int, workers: int) -> int:
    return -(-whole // workers)
