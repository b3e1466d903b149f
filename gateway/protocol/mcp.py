"""Servers of the Model Context Protocol that a provider calls for a client: which a request names, and what was called,
in the words of Anthropic's API and of OpenAI's Responses API. Pure.

A client may name the servers that the operator allows. What opens them, and all of their address but the host, is taken
out of the request before anything else sees it (:func:`sealed`) and put back when it leaves for the provider
(:func:`opened`), so that nothing of it is kept, judged or logged on the way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from gateway.errors import BadRequest, Forbidden
from gateway.protocol.hints import ANTHROPIC, HINTS, OPENAI, SERVER_TOOLS, googles_tools, own
from gateway.protocol.lists import dicts
from gateway.protocol.server_blocks import OURS, result_of

KIND, SERVERS, TOOLSET = "mcp", "mcp_servers", "mcp_toolset"
CALL, LISTING, REQUEST, RESPONSE = "mcp_call", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response"
"""Types of items of the Responses API."""
ITEMS = frozenset({CALL, LISTING, REQUEST, RESPONSE})
_USE, _RESULT, _LISTED = "mcp_tool_use", "mcp_tool_result", "mcp_tool_listing"
_ADDRESS = re.compile(r"https://([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?)((?:[/?][!-\[\]-~]*)?)")
Swap = Callable[[str], str]


# ------------------------------------------------------------------------------------------------ servers
def sealed(
    body: dict[str, Any], hosts: Collection[str], connectors: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, str] | None]:
    """``body`` with each server where its vendor looks for it and without what opens it; what was taken out, by what
    stands in its place: None where no server is named. Raises Forbidden for a host that is not among ``hosts`` and a
    connector that is not among ``connectors``, BadRequest."""
    tools = body.get("tools")
    loose = isinstance(tools, list) and any(map(_is_server, tools))
    if not loose and SERVERS not in body and HINTS.isdisjoint(body):
        return body, None
    if any(name.lower().startswith(KIND) for tool in googles_tools(body) for name in tool):
        raise _unsupported("google.tools", "MCP servers that Google calls are not supported by this gateway.")
    if loose or SERVERS in body:
        body = _gathered(body)
    if not own(body, ANTHROPIC).get(SERVERS) and not servers_of_openai(body):
        return body, None
    for where, tool in _placed_servers(body):
        _check_kind(tool, where, connectors)
    taken: dict[str, str] = {}

    def put_away(text: str) -> str:
        name = f"sealed-{len(taken) + 1}"
        taken[name] = text
        return name

    def address(url: Any, where: str) -> str:
        host, rest = _checked(url, where, hosts)
        return f"https://{host}/{put_away(url)}" if rest.strip("/") else url

    return _rewritten(body, put_away, address), taken


def opened(body: Mapping[str, Any], taken: Mapping[str, str]) -> dict[str, Any]:
    """``body`` as it leaves for a provider."""

    def address(url: Any, _: str) -> str:
        return taken.get(str(url).rpartition("/")[2], str(url))

    return _rewritten(body, lambda text: taken.get(text, text), address)


def servers_of_openai(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tools of OpenAI's that are servers."""
    return [tool for _, tool in _placed_servers(body)]


def _placed_servers(body: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(where the client wrote it, a server's tool)."""
    entries = own(body, OPENAI).get(SERVER_TOOLS)
    found = [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    return [(f"tools[{one.get('at')}]", one["tool"]) for one in found if _is_server(one.get("tool"))]


def check_tools(tools: Any, where: str, hosts: Collection[str], connectors: Collection[str] = ()) -> None:
    """Raises Forbidden or BadRequest for a server among ``tools`` that may not be named."""
    for at, tool in enumerate(tools if isinstance(tools, list) else ()):
        if isinstance(tool, dict) and tool.get("type") == KIND:
            _check_kind(tool, f"{where}[{at}]", connectors)
            if not _connects(tool):
                _checked(tool.get("server_url"), f"{where}[{at}].server_url", hosts)


def _connects(tool: Mapping[str, Any]) -> bool:
    """Whether a tool is one of OpenAI's connectors, which has no address."""
    return tool.get("connector_id") is not None


def _check_kind(tool: Mapping[str, Any], where: str, connectors: Collection[str]) -> None:
    """Raises BadRequest for a server that is named by neither its address nor a connector, or by both; Forbidden for a
    connector that the operator does not list."""
    if tool.get("tunnel_id") is not None:
        why = f"'{where}.tunnel_id' is not supported by this gateway: name a 'server_url'."
        raise _unsupported(f"{where}.tunnel_id", why)
    if not _connects(tool):
        return
    if tool.get("server_url") is not None:
        raise BadRequest(f"'{where}' names a 'server_url' and a 'connector_id': send one.", param=where)
    if tool["connector_id"] not in connectors:
        message = (
            f"The connector '{str(tool['connector_id'])[:64]}' may not be named here: this gateway's operator lists "
            "those that may be ('mcp: {connectors: […]}' in the policies)."
        )
        raise Forbidden(message, param=f"{where}.connector_id", code="mcp_server_not_allowed")


def shown(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool as a response repeats it: as OpenAI does, without what opens the server."""
    found = {name: value for name, value in tool.items() if name not in ("authorization", "headers")}
    known = _ADDRESS.fullmatch(str(tool.get("server_url")))
    if known is not None and known[2].strip("/"):
        found["server_url"] = f"https://{known[1]}/<redacted>"
    return found


def _gathered(body: dict[str, Any]) -> dict[str, Any]:
    """What a client of chat wrote beside its messages, where each vendor's own client writes it."""
    tools = body.get("tools")
    listed = tools if isinstance(tools, list) else []
    mine = [{"at": at, "tool": tool} for at, tool in enumerate(listed) if _is_server(tool)]
    found = {name: value for name, value in body.items() if name != SERVERS and (name != "tools" or not mine)}
    others = [tool for tool in listed if not _is_server(tool)]
    if mine and others:
        found["tools"] = others
    if mine:
        before = own(body, OPENAI)
        found[OPENAI] = {**before, SERVER_TOOLS: [*dicts(before.get(SERVER_TOOLS)), *mine]}
    if body.get(SERVERS) is not None:
        found[ANTHROPIC] = {**own(body, ANTHROPIC), SERVERS: body[SERVERS]}
    return found


def _is_server(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type") == KIND


def _checked(url: Any, where: str, hosts: Collection[str]) -> tuple[str, str]:
    """(host, what comes behind it) of an address."""
    found = _ADDRESS.fullmatch(url) if isinstance(url, str) else None
    if found is None:
        raise BadRequest(f"'{where}' must be an https:// address without a user's name.", param=where)
    if found[1].lower() not in hosts:
        message = (
            f"Servers at '{found[1][:200]}' may not be named here: this gateway's operator lists the hosts that "
            "providers may be sent to ('mcp: {hosts: […]}' in the policies)."
        )
        raise Forbidden(message, param=where, code="mcp_server_not_allowed")
    return found[1], found[2]


def _rewritten(body: Mapping[str, Any], swap: Swap, address: Callable[[Any, str], str]) -> dict[str, Any]:
    found = dict(body)
    claudes, openais = own(body, ANTHROPIC), own(body, OPENAI)
    if claudes.get(SERVERS):
        servers = claudes[SERVERS]
        if not isinstance(servers, list) or not all(isinstance(one, dict) for one in servers):
            raise BadRequest(f"'{SERVERS}' must be a list of servers.", param=SERVERS, code="invalid_type")
        told = [_server(one, f"{SERVERS}.{at}", swap, address) for at, one in enumerate(servers)]
        found[ANTHROPIC] = {**claudes, SERVERS: told}
    if servers_of_openai(body):
        entries = [one for one in openais[SERVER_TOOLS] if isinstance(one, dict)]
        found[OPENAI] = {**openais, SERVER_TOOLS: [_entry(one, swap, address) for one in entries]}
    return found


def _server(server: dict[str, Any], where: str, swap: Swap, address: Callable[[Any, str], str]) -> dict[str, Any]:
    told = {**server, "url": address(server.get("url"), f"{where}.url")}
    if server.get("authorization_token") is not None:
        told["authorization_token"] = swap(_secret(server["authorization_token"], f"{where}.authorization_token"))
    return told


def _entry(entry: dict[str, Any], swap: Swap, address: Callable[[Any, str], str]) -> dict[str, Any]:
    tool, where = entry.get("tool"), f"tools[{entry.get('at')}]"
    if not isinstance(tool, dict) or tool.get("type") != KIND:
        return entry
    told = dict(tool)
    if not _connects(tool):
        told["server_url"] = address(tool.get("server_url"), f"{where}.server_url")
    if tool.get("authorization") is not None:
        told["authorization"] = swap(_secret(tool["authorization"], f"{where}.authorization"))
    headers = tool.get("headers")
    if isinstance(headers, dict):
        told["headers"] = {name: swap(_secret(value, f"{where}.headers")) for name, value in headers.items()}
    elif headers is not None:
        raise _no_secret(f"{where}.headers", "an object of strings")
    return {**entry, "tool": told}


def _secret(value: Any, where: str) -> str:
    """Raises BadRequest for what is no text: it opens nothing, and would not be known for a secret."""
    if not isinstance(value, str):
        raise _no_secret(where, "a string")
    return value


def _no_secret(where: str, wanted: str) -> BadRequest:
    return BadRequest(f"'{where}' must be {wanted}.", param=where, code="invalid_type")


# ------------------------------------------------------------------------------------------------ what was called
def blocks_of(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An item of the Responses API as blocks. One of Claude's keeps its own id, all others begin with ``OURS``."""
    kind, name = item.get("type"), str(item.get("id") or "")
    id_ = name if name.startswith("mcptoolu_") else OURS + name
    if kind == LISTING:
        tools = item["tools"] if isinstance(item.get("tools"), list) else []
        failed = {"error": item["error"]} if item.get("error") is not None else {}
        label = str(item.get("server_label"))
        return [{"type": _LISTED, "id": id_, "mcp_server_name": label, "tools": tools, **failed}]
    if kind == RESPONSE:
        kept = {one: item[one] for one in ("approval_request_id", "approve", "reason") if item.get(one) is not None}
        return [{"type": RESPONSE, **({"id": id_} if name else {"id": OURS}), **kept}]
    asked = _object(item.get("arguments"))
    use = {"id": id_, "name": str(item.get("name")), "server_name": str(item.get("server_label")), "input": asked}
    if kind == REQUEST:
        return [{"type": REQUEST, **use}]
    if kind != CALL:
        return []
    more = {one: item[one] for one in ("approval_request_id",) if item.get(one) is not None}
    error = item.get("error")
    text = item.get("output") if isinstance(item.get("output"), str) else ""
    failed = {"error": error} if error is not None else {}
    content = [{"type": "text", "text": text or (_said_of(error) if failed else "")}]
    result = {"type": _RESULT, "tool_use_id": id_, "is_error": bool(failed), "content": content, **failed}
    return [{"type": _USE, **use, **more}, result]


def begun(block: Mapping[str, Any], other_id: str) -> dict[str, Any] | None:
    """The item that a block begins; None for any other block. ``other_id`` where the block has none."""
    kind, name = block.get("type"), str(block.get("id") or "").removeprefix(OURS)
    if kind == _LISTED:
        listed = [one for one in block.get("tools") or () if isinstance(one, dict)]
        tools = [{"description": None, "annotations": None, **one} for one in listed]
        return {"id": name or f"mcpl_{other_id}", "type": LISTING, "server_label": block.get("mcp_server_name"),
                "tools": tools, "error": block.get("error")}  # fmt: skip
    if kind not in (_USE, REQUEST):
        return None
    arguments = msgspec.json.encode(block.get("input") or {}).decode()
    item = {"id": name or f"mcp_{other_id}", "type": CALL if kind == _USE else REQUEST, "name": block.get("name"),
            "server_label": block.get("server_name"), "arguments": arguments}  # fmt: skip
    if kind == REQUEST:
        return item
    return {**item, "status": "in_progress", "output": None, "error": None,
            "approval_request_id": block.get("approval_request_id")}  # fmt: skip


def ended(item: dict[str, Any], result: Mapping[str, Any]) -> None:
    """Puts what came of a call into its item."""
    content = result.get("content")
    parts = [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
    text = content if isinstance(content, str) else "".join(str(one.get("text") or "") for one in parts)
    failed = result.get("is_error") is True
    item["status"] = "failed" if failed else "completed"
    if failed:
        item["error"] = result.get("error") or {"type": "mcp_tool_execution_error", "content": parts or text}
    else:
        item["output"] = text


def items_of(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What others than Claude did, as the items that OpenAI wants back."""
    found = []
    for block in blocks:
        if not str(block.get("id") or "").startswith(OURS):
            continue
        if block.get("type") == RESPONSE:
            named = {name: value for name, value in block.items() if name != "id" or value != OURS}
            found.append(named | ({"id": named["id"].removeprefix(OURS)} if "id" in named else {}))
        elif (item := begun(block, "")) is not None:
            result = result_of(block, blocks)
            if result is not None:
                ended(item, result)
            found.append({name: value for name, value in item.items() if value is not None})
    return found


def _object(text: Any) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text if isinstance(text, str) and text else "{}")
    except (msgspec.DecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _said_of(error: Any) -> str:
    if isinstance(error, dict):
        told = error.get("message") or error.get("content")
        return told if isinstance(told, str) else msgspec.json.encode(told).decode()
    return str(error)


def _unsupported(param: str, message: str) -> BadRequest:
    return BadRequest(message, param=param, code="unsupported_parameter")
