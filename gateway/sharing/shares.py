"""What one of several workers may take of a bound that all of them share and nobody counts together."""

from __future__ import annotations

from msgspec import structs

from gateway.config import Config, UpstreamRules


def share_of(config: Config, workers: int) -> Config:
    """The configuration of one of ``workers`` processes: its part of connections and of calls at a provider. Rounded
    up, so that every worker can serve."""
    if workers == 1:
        return config
    upstreams = {name: config.upstreams.get(name, UpstreamRules()) for name in config.providers}
    server = structs.replace(
        config.server,
        max_connections=_part(config.server.max_connections, workers),
        max_connections_per_address=_part(config.server.max_connections_per_address, workers),
    )
    parts = {name: _of_upstream(rules, workers) for name, rules in upstreams.items()}
    return structs.replace(config, server=server, upstreams=parts)


def _of_upstream(rules: UpstreamRules, workers: int) -> UpstreamRules:
    return structs.replace(
        rules, max_concurrent=_part(rules.max_concurrent, workers), max_queue=_part(rules.max_queue, workers)
    )


def _part(whole: int, workers: int) -> int:
    return -(-whole // workers)
