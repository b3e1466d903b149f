"""What Anthropic does only for requests that ask for it by a header, by the parameter that needs it."""

from __future__ import annotations

from collections.abc import Container

from gateway.protocol.hints import CONTEXT
from gateway.protocol.mcp import SERVERS

_HEADER = "anthropic-beta"
_BETAS = {SERVERS: "mcp-client-2025-11-20", CONTEXT: "context-management-2025-06-27"}


def with_betas(headers: dict[str, str], wire: Container[str]) -> dict[str, str]:
    """``headers`` that ask for what ``wire`` needs; an operator's own word for it, of another date, stays."""
    told = next((value for name, value in headers.items() if name.lower() == _HEADER), "")
    missing = [beta for name, beta in _BETAS.items() if name in wire and _undated(beta) not in told]
    if not missing:
        return headers
    kept = {name: value for name, value in headers.items() if name.lower() != _HEADER}
    return {**kept, _HEADER: ",".join([told, *missing] if told else missing)}


def _undated(beta: str) -> str:
    return beta.rstrip("0123456789-") + "-"
