"""The parameters with which one candidate is asked: its variant's, and no more tokens than it writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.context import Exchange
from gateway.routing.ways import cuts_output, most_output
from gateway.stages.assign import LIMITS
from optimizer.routing.plan import Candidate


def parameters_for(exchange: Exchange, candidate: Candidate, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body as that candidate is asked; the same one where nothing has to change."""
    if candidate.variant and exchange.task is not None:
        body = _varied(exchange, candidate, body)
    return body if exchange.request.token_limit is None else _cut(exchange, candidate, body)


def _varied(exchange: Exchange, candidate: Candidate, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body with the parameters of a variant; what the client said itself stays."""
    assert exchange.task is not None
    wanted = exchange.runtime.parameters.get((exchange.task.name, candidate), {})
    said = {name for name, value in body.items() if value is not None} - exchange.filled
    if said & LIMITS:
        said |= LIMITS
    return {**body, **{name: value for name, value in wanted.items() if name not in said}}


def _cut(exchange: Exchange, candidate: Candidate, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Anthropic's clients have to name a limit and name a generous one, which other models refuse."""
    config = exchange.runtime.config
    if not cuts_output(config, candidate):
        return body
    most = most_output(config, candidate)
    said = {name: body[name] for name in LIMITS if isinstance(body.get(name), int)}
    if most is None or all(limit <= most for limit in said.values()):
        return body
    return {**body, **{name: min(limit, most) for name, limit in said.items()}}
