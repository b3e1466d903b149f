"""A chat completion request as a body for OpenAI's Responses API, asked as a provider.

https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.protocol import phases, server_blocks
from gateway.protocol.client_tools import sent_call, sent_output
from gateway.protocol.foreign_thoughts import OPENAI
from gateway.protocol.hints import (
    ALONE,
    AT_OPENAI,
    AT_XAI,
    CACHE_MARK,
    ON_PARTS,
    REASONING,
    SERVER_TOOLS,
    Grouped,
    clients_own,
    held_image,
    openais_tools,
)
from gateway.protocol.hints import OPENAI as OWN
from gateway.protocol.hints import own as said_to
from gateway.protocol.lists import texts
from gateway.protocol.mcp import KIND as MCP
from gateway.protocol.mcp import items_of
from gateway.protocol.web_search import NAME as WEB_SEARCH
from gateway.providers.end_users import shorten
from gateway.providers.mcp_servers import xais_server
from gateway.providers.responses.namespaces import called, groups_at, in_groups
from gateway.providers.searching import asked, responses_tool, xais_tool
from gateway.providers.translate_request import Reader, Turn, url_of

SIGNED = OPENAI
"""Begins the signature of thoughts that OpenAI wants back: the item's id and its encrypted content follow. Others that
speak this API and cannot read OpenAI's begin theirs otherwise."""
_NOTHING_ASKED: dict[str, tuple[Any, ...]] = {
    "n": (1,), "seed": (), "logit_bias": ({},), "frequency_penalty": (0,), "presence_penalty": (0,),
    "prediction": (), "audio": (), "modalities": ([], ["text"]), "top_k": (),
}  # fmt: skip
_PASSED = (
    "temperature", "top_p", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "prompt_cache_options", "service_tier", "parallel_tool_calls", "top_logprobs", "moderation",
)  # fmt: skip
_THINKS = re.compile(r"(?:o\d|gpt-[5-9]|codex|computer-use)")


def request_body(reader: Reader, model: str, here: str = AT_OPENAI, seal: str = SIGNED) -> dict[str, Any]:
    """Raises AttemptFailed with a BadRequest for what the Responses API cannot take. Nothing is kept at OpenAI: the
    gateway holds the conversation, and thoughts travel encrypted. ``here``: whose tools run at this provider;
    ``seal``: how signatures of its own begin."""
    reader.without(_NOTHING_ASKED)
    if reader.body.get("logprobs") and reader.stops():
        reader.cannot("stop", "log-probabilities are not cut at a stop sequence.")
    reader.without_claudes_own(here)
    if here == AT_XAI:
        reader.without({"search_parameters": ()})  # xAI has given its Live Search up
    body = reader.body
    groups = groups_at(body, model, here)
    items = [called(one, groups) for one in _items(reader, here, seal)] if groups else _items(reader, here, seal)
    wire: dict[str, Any] = {"model": model, "input": items, "store": False}
    wire |= {name: body[name] for name in _PASSED if body.get(name) is not None}
    shorten(wire)
    limit = reader.token_limit()
    if limit is not None:
        wire["max_output_tokens"] = limit
    there = said_to(body, OWN)
    effort = body.get("reasoning_effort")
    thinking = {"effort": effort} if effort is not None else {}
    if here != AT_XAI:
        thinking |= said_to(there, REASONING)
    if thinking:
        wire["reasoning"] = thinking
    if here == AT_OPENAI:
        wire |= {name: there[name] for name in ALONE if there.get(name)}
    wire |= _tools(reader, here, groups) | _text(reader)
    include = ["reasoning.encrypted_content"] if effort not in (None, "none") or _THINKS.match(model) else []
    include += ["message.output_text.logprobs"] if body.get("logprobs") else []
    if body.get(WEB_SEARCH) is not None and here != AT_XAI:  # which tells them as they are cited
        include.append("web_search_call.action.sources")
    include += texts(there.get("include"))
    if include:
        wire["include"] = include
    if there.get("max_tool_calls") is not None and (here != AT_XAI or SERVER_TOOLS in there):
        wire["max_tool_calls"] = there["max_tool_calls"]
    extras = reader.extras()
    if here == AT_XAI:
        extras.pop("search_parameters", None)
    for name, value in extras.items():
        own = wire.get(name)
        wire[name] = {**own, **value} if isinstance(own, dict) and isinstance(value, dict) else value
    return wire


def _text(reader: Reader) -> dict[str, Any]:
    text: dict[str, Any] = {}
    kind, schema = reader.schema()
    if kind == "json_object":
        text["format"] = {"type": kind}
    elif kind == "json_schema":
        form = reader.body["response_format"]["json_schema"]
        named = {name: form[name] for name in ("description", "strict") if form.get(name) is not None}
        text["format"] = {"type": kind, "name": str(form.get("name") or "answer"), "schema": schema, **named}
    if reader.body.get("verbosity") is not None:
        text["verbosity"] = reader.body["verbosity"]
    return {"text": text} if text else {}


def _tools(reader: Reader, here: str, groups: Mapping[str, Grouped]) -> dict[str, Any]:
    """Tools are flat here, and strict unless they say no: chat's are not strict unless they say yes."""
    for old in ("functions", "function_call"):
        if reader.body.get(old):
            raise reader.refused(old, f"'{old}' is not supported here. Use 'tools' and 'tool_choice'.")
    owned = clients_own(reader.body)[0] if here == AT_OPENAI else {}
    tools = [owned.get(_name(tool)) or _tool(tool) for tool in reader.body.get("tools") or []]
    tools = in_groups(tools, groups) if groups else tools
    search = asked(reader)
    if search is not None:
        tools.append(xais_tool(reader, search) if here == AT_XAI else responses_tool(reader, search))
    for at, tool in openais_tools(reader.body):
        tools.insert(at, xais_server(reader, tool) if here == AT_XAI and tool.get("type") == MCP else tool)
    found: dict[str, Any] = {"tools": tools} if tools else {}
    choice = said_to(reader.body, OWN).get("tool_choice") or reader.body.get("tool_choice")
    if here == AT_XAI and isinstance(choice, dict) and choice.get("type") == MCP:
        reader.cannot("tool_choice", "a tool of an MCP server cannot be demanded here.")
        choice = None
    if search is not None and search.get("required"):
        found["tool_choice"] = {"type": "web_search"}
    elif choice is not None:
        found["tool_choice"] = _choice(choice, owned)
    return found


def _name(tool: Any) -> str:
    """Of a function of chat's; "" of anything else."""
    function = tool.get("function") if isinstance(tool, dict) else None
    return str(function.get("name")) if isinstance(function, dict) else ""


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(tool.get("type", "function"))
    inner = tool.get(kind)
    if not isinstance(inner, dict):
        return dict(tool)  # one of OpenAI's own, such as web_search
    flat = {name: value for name, value in inner.items() if name not in ON_PARTS}
    if kind == "function":
        return {"type": kind, "parameters": {"type": "object", "properties": {}}, "strict": False, **flat}
    form = flat.get("format")
    if isinstance(form, dict) and isinstance(form.get("grammar"), dict):
        flat["format"] = {"type": "grammar", **form["grammar"]}
    return {"type": kind, **flat}


def _choice(choice: Any, owned: Mapping[str, Mapping[str, Any]]) -> Any:
    """``owned``: functions that are tools of OpenAI's."""
    if not isinstance(choice, dict):
        return choice
    if _name(choice) in owned:
        return {"type": owned[_name(choice)]["type"]}
    kind = str(choice.get("type"))
    inner = choice.get(kind)
    if not isinstance(inner, dict):
        return choice
    if kind == "allowed_tools":
        tools = [_choice(tool, owned) for tool in inner.get("tools") or []]
        return {"type": kind, "mode": inner.get("mode"), "tools": tools}
    return {"type": kind, "name": inner.get("name")}


# ------------------------------------------------------------------------------------------------ items
def _items(reader: Reader, here: str, seal: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    owned = clients_own(reader.body)[1] if here == AT_OPENAI else {}
    for turn in reader.turns():
        if turn.role == "tool":
            items.append(_result(reader, turn, owned))
        elif turn.role == "assistant":
            items += _assistant(reader, turn, here, seal, owned)
        else:
            parts = [_part(reader, at, part) for at, part in reader.parts(turn)]
            said = parts or [{"type": "input_text", "text": ""}]
            items.append({"type": "message", "role": turn.role, "content": said})
    return items


def _assistant(reader: Reader, turn: Turn, here: str, seal: str, owned: Mapping[str, str]) -> list[dict[str, Any]]:
    """What was thought, said and called, in this order."""
    items: list[dict[str, Any]] = []
    done = server_blocks.of(turn.message) if here != AT_XAI else []  # which names no such items among those it takes
    told = 0
    for thoughts, block in enumerate(turn.message.get("thinking_blocks") or []):
        before = [one for one in done[told:] if server_blocks.place(one, "thoughts") <= thoughts]
        items += items_of([one["block"] for one in before])
        told += len(before)
        signature = block.get("signature") if isinstance(block, dict) else None
        if isinstance(signature, str) and signature.startswith(seal):
            id_, _, secret = signature.removeprefix(seal).partition(":")
            text = str(block.get("thinking") or "")
            summary = [{"type": "summary_text", "text": text}] if text else []
            items.append({"type": "reasoning", "id": id_, "summary": summary, "encrypted_content": secret})
    later = [one for one in done[told:] if server_blocks.place(one, "start_index") > 0]
    items += items_of([one["block"] for one in done[told:] if one not in later])
    parts = []
    for _, part in reader.parts(turn):
        if part.get("type") == "refusal":
            parts.append({"type": "refusal", "refusal": str(part.get("refusal"))})
        else:
            parts.append({"type": "output_text", "text": str(part.get("text") or "")})
    items += phases.messages(parts, done if here == AT_OPENAI else [])
    items += items_of([one["block"] for one in later])
    for index, call in enumerate(turn.message.get("tool_calls") or []):
        items.append(_call(reader, f"{turn.at}.tool_calls[{index}]", call, owned))
    return items


def _call(reader: Reader, at: str, call: Any, owned: Mapping[str, str]) -> dict[str, Any]:
    kind = str(call.get("type") or "function") if isinstance(call, dict) else ""
    inner = call.get(kind) if isinstance(call, dict) else None
    if kind not in ("function", "custom") or not isinstance(inner, dict):
        raise reader.refused(at, "Only calls of function and custom tools are supported here.")
    if kind == "function" and _owner(call.get("id"), owned):
        return sent_call(owned[call["id"]], call["id"], str(inner.get("arguments") or "{}"))
    found = {"call_id": str(call.get("id") or ""), "name": str(inner.get("name"))}
    if kind == "custom":
        return {"type": "custom_tool_call", **found, "input": str(inner.get("input") or "")}
    return {"type": "function_call", **found, "arguments": str(inner.get("arguments") or "{}")}


def _owner(id_: Any, owned: Mapping[str, str]) -> bool:
    """Whether a call was one of a tool of OpenAI's that the client runs."""
    return isinstance(id_, str) and id_ in owned


def _result(reader: Reader, turn: Turn, owned: Mapping[str, str]) -> dict[str, Any]:
    id_ = turn.message.get("tool_call_id")
    custom = any(
        call.get("id") == id_ and call.get("type") == "custom"
        for other in reader.turns()
        for call in other.message.get("tool_calls") or []
        if isinstance(call, dict)
    )
    said = [_part(reader, at, part) for at, part in reader.parts(turn)]
    if _owner(id_, owned):
        text = "\n".join(part["text"] for part in said if part["type"] == "input_text")
        return sent_output(owned[str(id_)], str(id_), text, [part for part in said if part["type"] == "input_image"])
    told: str | list[dict[str, Any]] = said
    if all(part["type"] == "input_text" for part in said):
        told = "\n".join(part["text"] for part in said)
    kind = "custom_tool_call_output" if custom else "function_call_output"
    return {"type": kind, "call_id": str(id_ or ""), "output": told}


def _part(reader: Reader, at: str, part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    more = {CACHE_MARK: part[CACHE_MARK]} if part.get(CACHE_MARK) is not None else {}
    if kind == "text":
        return {"type": "input_text", "text": str(part.get("text") or ""), **more}
    if kind == "image_url":
        image = part.get("image_url")
        detail = image.get("detail") if isinstance(image, dict) else None
        return {"type": "input_image", "image_url": url_of(part), "detail": detail or "auto", **more}
    if held_image(part):
        return {"type": "input_image", "file_id": held_image(part), "detail": part["file"].get("detail") or "auto"}
    if kind == "file":
        file = part.get("file")
        named = isinstance(file, dict) and bool(file.get("file_url"))  # which has its name with it
        known = ("file_url",) if named else ("filename", "file_data", "file_id")
        found = {name: file[name] for name in known if file.get(name)} if isinstance(file, dict) else {}
        return {"type": "input_file", **found, **more}
    raise reader.refused(at, f"Parts of the type '{str(kind)[:40]}' are not supported here.")
