"""MCP servers as Claude and xAI are told of them, whoever's client named them.

https://docs.claude.com/en/docs/agents-and-tools/mcp-connector
"""

from __future__ import annotations

from typing import Any

from gateway.protocol.hints import ANTHROPIC, OPENAI, own
from gateway.protocol.mcp import SERVERS, TOOLSET, servers_of_openai
from gateway.providers.translate_request import Reader

_XAIS = frozenset({"type", "server_url", "server_label", "server_description", "authorization", "headers"})


def claudes_servers(reader: Reader) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(servers, their tools): as Anthropic's own client wrote the servers (its toolsets stand among the tools), and
    those that a client of OpenAI's named."""
    servers = list(own(reader.body, ANTHROPIC).get(SERVERS) or ())
    toolsets = []
    for tool in servers_of_openai(reader.body):
        servers.append(_server(reader, tool))
        toolsets.append(_toolset(reader, tool))
    choice = own(reader.body, OPENAI).get("tool_choice")
    if toolsets and choice is not None:
        reader.cannot("tool_choice", "a tool of an MCP server cannot be demanded here.")
    return servers, toolsets


def _server(reader: Reader, tool: dict[str, Any]) -> dict[str, Any]:
    _no_connector(reader, tool)
    if tool.get("require_approval") != "never":
        why = "Claude calls MCP servers without asking. Send \"require_approval\": \"never\", or ask OpenAI."
        raise reader.refused("tools.require_approval", why)
    token = tool.get("authorization")
    for name, value in (tool.get("headers") or {}).items():
        kind, _, secret = str(value).partition(" ")
        if name.lower() != "authorization" or kind.lower() != "bearer" or token is not None:
            raise reader.refused("tools.headers", "Claude sends an MCP server no header but a bearer token.")
        token = secret
    told = {"authorization_token": token} if token is not None else {}
    return {"type": "url", "name": str(tool.get("server_label")), "url": tool.get("server_url"), **told}


def xais_server(reader: Reader, tool: dict[str, Any]) -> dict[str, Any]:
    """A client's server as xAI is told of it, which asks nobody before it calls one.

    https://docs.x.ai/developers/tools/remote-mcp
    """
    _no_connector(reader, tool)
    if tool.get("require_approval") != "never":
        why = "xAI calls MCP servers without asking. Send \"require_approval\": \"never\", or ask OpenAI."
        raise reader.refused("tools.require_approval", why)
    for name in tool.keys() - _XAIS - {"require_approval", "allowed_tools", "connector_id"}:
        reader.cannot(f"tools.{name}", "xAI is told an MCP server's address, label, description, tools and headers.")
    allowed = _names(reader, tool, "xAI")
    named = {"allowed_tools": allowed} if allowed is not None else {}
    return {name: value for name, value in tool.items() if name in _XAIS} | named


def _no_connector(reader: Reader, tool: dict[str, Any]) -> None:
    if tool.get("connector_id") is not None:
        raise reader.refused("tools.connector_id", "Connectors are OpenAI's alone. Name a 'server_url', or ask OpenAI.")


def _names(reader: Reader, tool: dict[str, Any], whose: str) -> list[Any] | None:
    """The tools that may be called; None: all."""
    allowed = tool.get("allowed_tools")
    if isinstance(allowed, dict):
        if allowed.get("read_only") is not None:
            why = f"{whose} chooses tools by their names, not by what they may do."
            raise reader.refused("tools.allowed_tools", why)
        allowed = allowed.get("tool_names")
    return allowed if isinstance(allowed, list) else None


def _toolset(reader: Reader, tool: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"type": TOOLSET, "mcp_server_name": str(tool.get("server_label"))}
    allowed = _names(reader, tool, "Claude")
    if allowed is not None:
        found["default_config"] = {"enabled": False}
        found["configs"] = {str(name): {"enabled": True} for name in allowed}
    return found
