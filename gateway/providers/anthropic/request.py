"""A chat completion request as a body for Anthropic's messages API."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from gateway.protocol import server_blocks
from gateway.protocol.foreign_thoughts import of_claude
from gateway.protocol.hints import (
    ANTHROPIC,
    CONTAINER,
    CONTEXT,
    SEARCH_RESULT,
    anthropics_tools,
    cache_wish,
    for_claude_alone,
    held_image,
)
from gateway.protocol.mcp import SERVERS, TOOLSET
from gateway.protocol.web_search import is_search
from gateway.providers.capabilities import Ability
from gateway.providers.mcp_servers import claudes_servers
from gateway.providers.searching import asked, claudes_tool
from gateway.providers.translate_request import Reader, Turn, data_url, is_web_url, merge, said, url_of

_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 22_528, "max": 22_528}
_LESS = {"minimal": "low", "max": "xhigh", "xhigh": "high"}
_LEAST_BUDGET = 1024
_FILES = frozenset({"application/pdf", "text/plain"})
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_NOTHING_ASKED: dict[str, tuple[Any, ...]] = {
    "n": (1,), "frequency_penalty": (0,), "presence_penalty": (0,), "logit_bias": ({},), "logprobs": (False,),
    "top_logprobs": (0,), "seed": (), "audio": (), "modalities": ([], ["text"]), "verbosity": ("medium",),
    "moderation": (),
}  # fmt: skip
_ADAPTS = frozenset({"optional", "adaptive", "always"})
_TIERS = {"auto": "auto", "default": "standard_only"}


def request_body(
    reader: Reader, model: str, ability: Ability, max_tokens: int, *, servers: bool = True
) -> dict[str, Any]:
    """``servers``: whether MCP servers are called from here. Raises AttemptFailed with a BadRequest for what Anthropic
    cannot take."""
    reader.without(_NOTHING_ASKED)
    reader.runs_nothing("Anthropic", servers=servers)
    wire: dict[str, Any] = {"model": model, **_turns(reader)}
    limit = reader.token_limit()
    wire["max_tokens"] = limit if limit is not None else max_tokens
    called, toolsets = claudes_servers(reader) if servers else ([], [])
    _tools(reader, ability, wire, toolsets, servers=servers)
    if called:
        wire[SERVERS] = called
    if "thinking" not in reader.body:
        forced = wire.get("tool_choice", {}).get("type") in ("any", "tool")
        thinking(reader, ability, wire, asked=limit, blocked=forced or _lost_thinking(wire["messages"]))
    _as_written(reader, ability, wire)
    _sampling(reader, ability, wire)
    _format(reader, ability, wire)
    stops = reader.stops()
    if stops:
        wire["stop_sequences"] = stops
    user = reader.body.get("safety_identifier") or reader.body.get("user")
    if user:
        wire["metadata"] = {"user_id": user}
    tier = reader.body.get("service_tier")
    if tier in _TIERS:
        wire["service_tier"] = _TIERS[tier]
    elif tier is not None:
        reader.cannot("service_tier", "the tiers here are 'auto' and 'default'.")
    for name, value in reader.extras().items():
        wire.setdefault(name, value)
    return wire


def _as_written(reader: Reader, ability: Ability, wire: dict[str, Any]) -> None:
    """What Anthropic's own client said in Anthropic's own words, where the model knows them."""
    hints = reader.body.get(ANTHROPIC)
    if not isinstance(hints, dict):
        return
    wished = hints.get("thinking")
    if isinstance(wished, dict) and _understands(ability, wished, wire):
        wire["thinking"] = wished
    effort = hints.get("effort")
    if isinstance(effort, str) and effort in _BUDGETS and "effort" in wire.get("output_config", {}):
        wire["output_config"]["effort"] = _level(effort, ability)
    for name in ("cache_control", "speed", "inference_geo", CONTAINER, CONTEXT):
        if hints.get(name):
            wire[name] = hints[name]


def _understands(ability: Ability, wished: Mapping[str, Any], wire: Mapping[str, Any]) -> bool:
    """Whether the model takes this form of ``thinking`` in this request."""
    kind = wished.get("type")
    if kind == "disabled":
        return ability.thinking in ("budget", "optional", "adaptive")
    forced = wire.get("tool_choice", {}).get("type") in ("any", "tool")
    known = ability.thinking == "budget" if kind == "enabled" else ability.thinking in _ADAPTS
    return known and not forced and not _lost_thinking(wire["messages"])


def _sampling(reader: Reader, ability: Ability, wire: dict[str, Any]) -> None:
    temperature, top_p = reader.number("temperature", 0, 1), reader.number("top_p", 0, 1)
    thinks = "thinking" in wire and wire["thinking"].get("type") != "disabled"
    for name, value, idle in (("temperature", temperature, 1), ("top_p", top_p, 1)):
        if value is None or value == idle:
            continue  # the default, which some models refuse to hear
        if not ability.sampling:
            reader.cannot(name, "this model decides by itself how to sample.")
        elif thinks and (name == "temperature" or value < 0.95):
            reader.cannot(name, "it cannot be set while the model thinks (reasoning_effort).")
        else:
            wire[name] = value
    top_k = reader.top_k()
    if top_k is not None and (thinks or not ability.sampling):
        reader.cannot("top_k", "this model decides by itself how to sample, at least while it thinks.")
    elif top_k is not None:
        wire["top_k"] = top_k


def _format(reader: Reader, ability: Ability, wire: dict[str, Any]) -> None:
    kind, schema = reader.schema()
    if kind == "json_object":
        reader.cannot("response_format", "JSON needs a schema here. Send type 'json_schema'.")
    elif kind == "json_schema" and not ability.structured:
        reader.cannot("response_format", "this model does not enforce a JSON schema.")
    elif kind == "json_schema":
        wire.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}


def thinking(
    reader: Reader, ability: Ability, wire: dict[str, Any], *, asked: int | None, blocked: bool
) -> None:
    """Writes effort as a budget of tokens or as the model's own scale; ``asked`` is the client's token limit.

    Thinking is left out where Anthropic would refuse it (``blocked``): beside a forced tool, and in the middle
    of a round of tools whose own thinking the client did not keep.
    """
    effort = reader.body.get("reasoning_effort")
    if effort is None or ability.thinking == "none":
        if effort not in (None, "none"):
            reader.cannot_think()
        return
    if effort not in (*_BUDGETS, "none"):
        raise reader.refused(
            "reasoning_effort", f"There is no effort '{str(effort)[:40]}'.", code="invalid_value"
        )
    if effort == "none":
        if ability.thinking == "adaptive":
            wire["thinking"] = {"type": "disabled"}
        elif ability.thinking == "always":
            wire["output_config"] = {"effort": "low"}
        return
    if ability.thinking == "budget":
        budget = _BUDGETS[effort]
        if asked is None:
            wire["max_tokens"] += budget  # the answer keeps the room it has without thinking
        else:
            budget = min(budget, asked // 2)  # OpenAI's limit holds for thinking and answer together
        if budget >= _LEAST_BUDGET and not blocked:
            wire["thinking"] = {"type": "enabled", "budget_tokens": budget}
        return
    wire["output_config"] = {"effort": _level(effort, ability)}
    if not blocked:
        wire["thinking"] = {"type": "adaptive"}


def _level(effort: str, ability: Ability) -> str:
    """The model's nearest effort that is not above the one that is asked for."""
    known = {"low", "medium", "high", *{"xhigh": ["xhigh"], "max": ["xhigh", "max"]}.get(ability.top_effort, [])}
    known -= {"xhigh"} if ability.no_xhigh else set()
    while effort not in known:
        effort = _LESS[effort]
    return effort


def _lost_thinking(messages: list[dict[str, Any]]) -> bool:
    """Whether the last turns are a round of tools that began without thinking blocks."""
    for message in reversed(messages):
        blocks = message["content"]
        if message["role"] == "user":
            if any(block["type"] != "tool_result" for block in blocks):
                return False
        elif blocks[0]["type"] in ("thinking", "redacted_thinking"):
            return False
        elif any(block["type"] == "tool_use" for block in blocks):
            return True
    return False


# ------------------------------------------------------------------------------------------------ tools
def _tools(
    reader: Reader, ability: Ability, wire: dict[str, Any], toolsets: list[dict[str, Any]], *, servers: bool
) -> None:
    tools: list[dict[str, Any]] = []
    for at, function in reader.functions():
        tool = {
            "name": function["name"],
            "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
        }
        if function.get("description"):
            tool["description"] = function["description"]
        if function.get("strict") and ability.structured:
            tool["strict"] = True
        elif function.get("strict"):
            reader.cannot(f"{at}.function.strict", "this model does not enforce a tool's schema.")
        for own in ("input_examples", "eager_input_streaming"):
            if function.get(own) is not None:
                tool[own] = function[own]
        tools.append(_cached(function, tool))
    # Anthropic's own tools (web search, code execution, …) are the provider's to understand.
    tools += [
        tool
        for tool in reader.body.get("tools") or []
        if tool.get("type", "function") not in ("function", "custom")
    ]
    search = _own_tools(reader, tools, servers=servers)
    tools += toolsets
    if not tools:
        return
    mode, name = ("named", "web_search") if search and search.get("required") else reader.choice()
    if mode in ("required", "named") and not ability.forcing:
        reader.cannot("tool_choice", "this model cannot be made to use a tool.")
        mode, name = "auto", ""
    choice: dict[str, Any] = {"type": {"required": "any", "named": "tool"}.get(mode, mode)}
    if mode == "named":
        choice["name"] = name
    elif name:
        tools = [tool for tool in tools if tool.get("name") in name]
    if reader.body.get("parallel_tool_calls") is False and mode != "none":
        choice["disable_parallel_tool_use"] = True
    wire["tools"] = tools
    if choice != {"type": "auto"}:
        wire["tool_choice"] = choice


def _own_tools(reader: Reader, tools: list[dict[str, Any]], *, servers: bool) -> dict[str, Any] | None:
    """Adds the tools that run at Anthropic, as its own client wrote them and where it put them; else the search that
    another client asked for. → what was asked of that search."""
    search, own = asked(reader), anthropics_tools(reader.body)
    own = own if servers else [one for one in own if one[1].get("type") != TOOLSET]
    for at, tool in own:
        tools.insert(at, tool)
    if search is not None and not any(is_search(tool.get("type")) for _, tool in own):
        tools.append(claudes_tool(reader, search))
    return search


# ------------------------------------------------------------------------------------------------ turns
def _turns(reader: Reader) -> dict[str, Any]:
    """``system`` and ``messages``. Instructions stand apart at Anthropic, so all of them go to the front, in
    order, and are text alone there; neighbouring turns of one role become one, where tool results belong too."""
    system: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    for turn in reader.spoken():
        if turn.role in ("system", "developer"):
            blocks = _blocks(reader, turn)
            system += [block for block in blocks if block["type"] == "text"]
            merge(messages, "user", [block for block in blocks if block["type"] != "text"])
            continue
        role = "assistant" if turn.role == "assistant" else "user"
        blocks = {"assistant": _assistant, "tool": _result}.get(turn.role, _blocks)(reader, turn)
        merge(messages, role, blocks)
    if not messages and system:
        messages.append({"role": "user", "content": [system.pop()]})  # OpenAI answers instructions alone
    if messages and messages[-1]["role"] == "assistant" and messages[-1]["content"][-1]["type"] == "text":
        last = messages[-1]["content"][-1]
        last["text"] = last["text"].rstrip() or "…"  # a prefill must not end in white space
    return {"system": system, "messages": messages} if system else {"messages": messages}


def _blocks(reader: Reader, turn: Turn) -> list[dict[str, Any]]:
    return [_block(reader, at, part) for at, part in said(reader, turn)]


def _block(reader: Reader, at: str, part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        block = _written(part, str(part.get(str(kind))))
    elif kind == "image_url":
        block = {"type": "image", "source": _image(reader, at, url_of(part))}
    elif kind == "file" and held_image(part):
        block = {"type": "image", "source": {"type": "file", "file_id": _here(reader, at, held_image(part))}}
    elif kind == "file":
        block = _document(reader, at, part.get("file")) | _own(part)
    elif kind == SEARCH_RESULT:
        block = {name: value for name, value in part.items() if name != "cache_control"}
    else:
        raise reader.refused(at, f"Parts of the type '{str(kind)[:40]}' are not supported here.")
    return _cached(part, block)


def _written(part: Mapping[str, Any], text: str) -> dict[str, Any]:
    """A text, or the document that a client of Anthropic's handed over as one."""
    if "document" in part:
        source = {"type": "text", "media_type": "text/plain", "data": text}
        return {"type": "document", "source": source, **_own(part)}
    cites = part.get("citations")
    return {"type": "text", "text": text, **({"citations": cites} if isinstance(cites, list) and cites else {})}


def _own(part: Mapping[str, Any]) -> dict[str, Any]:
    """What the client said of a document in Anthropic's own words."""
    own = part.get("document")
    return dict(own) if isinstance(own, dict) else {}


def _cached(said: Mapping[str, Any], block: dict[str, Any]) -> dict[str, Any]:
    wish = cache_wish(said)
    return block if wish is None else {**block, "cache_control": wish}


def _image(reader: Reader, at: str, url: str) -> dict[str, Any]:
    found = data_url(url)
    if found is not None:
        if found[0] not in _IMAGES:
            raise reader.refused(
                f"{at}.image_url", "Images must be JPEG, PNG, GIF or WebP.", code="invalid_value"
            )
        return {"type": "base64", "media_type": found[0], "data": found[1]}
    if is_web_url(url):
        return {"type": "url", "url": url}
    raise reader.refused(f"{at}.image_url", "An image is a data: or an https: address.", code="invalid_value")


def _document(reader: Reader, at: str, file: Any) -> dict[str, Any]:
    file = file if isinstance(file, dict) else {}
    found, url = data_url(str(file.get("file_data") or "")), str(file.get("file_url") or "")
    if found is not None and found[0] == "text/plain":
        source = {"type": "text", "media_type": found[0], "data": _decoded(reader, at, found[1])}
    elif found is not None and found[0] == "application/pdf":
        source = {"type": "base64", "media_type": found[0], "data": found[1]}
    elif is_web_url(url):
        source = {"type": "url", "url": url}
    elif file.get("file_id"):
        source = {"type": "file", "file_id": _here(reader, at, str(file["file_id"]))}
    else:
        why = "A file must be a PDF or plain text in 'file_data', as a data: address."
        raise reader.no_document(f"{at}.file", why, _FILES.__contains__)
    document: dict[str, Any] = {"type": "document", "source": source}
    if isinstance(file.get("filename"), str):
        document["title"] = file["filename"]
    return document


def _here(reader: Reader, at: str, file_id: str) -> str:
    """Raises AttemptFailed for a file that lies at another vendor."""
    if not for_claude_alone({"file": {"file_id": file_id}}):
        raise reader.refused(f"{at}.file", f"There is no file '{file_id[:80]}' here: send its content.")
    return file_id


def _decoded(reader: Reader, at: str, data: str) -> str:
    try:
        return base64.b64decode(data).decode()
    except ValueError:
        raise reader.refused(f"{at}.file", "A text file must be UTF-8.", code="invalid_value") from None


def _assistant(reader: Reader, turn: Turn) -> list[dict[str, Any]]:
    """Thinking first, with its signatures as they came; then text; then calls. What ran at Anthropic stands where it
    stood between them."""
    blocks = _with_server_blocks(reader, turn) or of_claude(turn.message) + _blocks(reader, turn)
    for call, id_, name, arguments in reader.calls(turn):
        used = {"type": "tool_use", "id": _safe(id_), "name": name, "input": arguments}
        blocks.append(_cached(call, used))
    return blocks


def _with_server_blocks(reader: Reader, turn: Turn) -> list[dict[str, Any]]:
    """[] for a turn without any that are Claude's."""
    own = server_blocks.of_claude(turn.message)
    if not own:
        return []
    said = [_block(reader, at, part) for at, part in reader.parts(turn)]
    return server_blocks.woven(own, of_claude(turn.message), [one for one in said if one["type"] == "text"])


def _result(reader: Reader, turn: Turn) -> list[dict[str, Any]]:
    id_ = turn.message.get("tool_call_id")
    if not isinstance(id_, str) or not id_:
        param = f"{turn.at}.tool_call_id"
        raise reader.refused(param, f"Missing '{param}'.", code="missing_required_parameter")
    result: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": _safe(id_),
        "content": _blocks(reader, turn),
    }
    if turn.message.get("is_error") is True:
        result["is_error"] = True
    return [_cached(turn.message, result)]


def _safe(id_: str) -> str:
    """Ids that came from another provider may hold characters that Anthropic refuses."""
    return _NOT_IN_AN_ID.sub("_", id_) or "_"
