"""A chat completion request as a body for Bedrock's Converse."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from gateway.protocol.foreign_thoughts import of_claude
from gateway.protocol.hints import SEARCH_RESULT, cache_wish
from gateway.providers.anthropic.request import thinking
from gateway.providers.capabilities import Ability, most_stops
from gateway.providers.translate_request import (
    SAID_NOTHING,
    Reader,
    Turn,
    data_url,
    is_web_url,
    merge,
    said,
    url_of,
)

_ROOM = 8192
_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_.:-]")
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9 ()\[\]-]+")
_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/plain": "txt",
    "text/markdown": "md",
    "text/html": "html",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
_NOTHING_ASKED: dict[str, tuple[Any, ...]] = {
    "n": (1,), "frequency_penalty": (0,), "presence_penalty": (0,), "logit_bias": ({},), "logprobs": (False,),
    "top_logprobs": (0,), "seed": (), "audio": (), "modalities": ([], ["text"]), "verbosity": ("medium",),
    "web_search_options": (), "moderation": (),
}  # fmt: skip


_CACHES = re.compile(r"claude-(?:3-5-haiku|3-5-sonnet-20241022|3-7|[a-z]+-[4-9])|nova-(?:micro|lite|pro|premier)")
"""The models that keep prompts; others refuse a cache point, which is only a hint (AWS's guide to prompt caching)."""
_CACHES_LONG = re.compile(r"claude-[a-z]+-(?:4-[5-9]|[5-9])")
"""Those that keep them for an hour, if asked to."""
_HEARS = re.compile(r"nova-2|sonic|omni|voxtral|ultravox")
"""The models that take sound."""
_LEARNS_OF_ERRORS = re.compile(r"anthropic\.|amazon\.nova")
"""The models that are told that a tool failed (``ToolResultBlock``)."""
_GONE = "This tool is not available any more. Do not call it."


def request_body(reader: Reader, ability: Ability, model: str) -> dict[str, Any]:
    """Raises AttemptFailed with a BadRequest for what Converse cannot take."""
    reader.without(_NOTHING_ASKED)
    reader.stays_anywhere()
    reader.runs_nothing()
    if "anthropic." not in model:
        reader.without_claudes_own()
    wire = _turns(reader, model)
    if not _CACHES.search(model):
        _forget_points(wire)
    asked = reader.token_limit()
    limits: dict[str, Any] = {"maxTokens": asked, "stopSequences": reader.stops(most_stops("bedrock")) or None}
    if limits["stopSequences"] and "anthropic." in model:
        wire["additionalModelResponseFieldPaths"] = ["/stop_sequence"]  # which of them was met
    forced = _tools(reader, ability, wire, model)
    if "additionalModelRequestFields" not in reader.body:
        _thinking(reader, ability, wire, limits, forced=forced)
    thinks = "additionalModelRequestFields" in wire
    _sampling(reader, ability, limits, thinks=thinks)
    limits = {name: value for name, value in limits.items() if value is not None}
    if limits:
        wire["inferenceConfig"] = limits
    _format(reader, ability, wire)
    tier = reader.body.get("service_tier")
    if tier in ("default", "flex", "priority"):
        wire["serviceTier"] = {"type": tier}
    elif tier not in (None, "auto"):
        reader.cannot("service_tier", "the tiers here are 'default', 'flex' and 'priority'.")
    _top_k(reader, ability, wire, model, thinks=thinks)
    for name, value in reader.extras().items():
        wire.setdefault(name, value)
    return wire


def _sampling(reader: Reader, ability: Ability, limits: dict[str, Any], *, thinks: bool) -> None:
    for name, own in (("temperature", "temperature"), ("top_p", "topP")):
        value = reader.number(name, 0, 1)
        if value is None or (value == 1 and not ability.sampling):
            continue
        if not ability.sampling or (thinks and value != 1):
            reader.cannot(name, "this model decides by itself how to sample, at least while it thinks.")
        else:
            limits[own] = value


def _top_k(reader: Reader, ability: Ability, wire: dict[str, Any], model: str, *, thinks: bool) -> None:
    """Converse has no word for it, so models are told in their own."""
    value = reader.top_k()
    if value is None:
        return
    if not ability.sampling or thinks or not ("anthropic." in model or "amazon.nova" in model):
        reader.cannot("top_k", "this model has no such setting, at least while it thinks.")
        return
    own = {"top_k": value} if "anthropic." in model else {"inferenceConfig": {"topK": value}}
    told = reader.body.get("additionalModelRequestFields")
    wire["additionalModelRequestFields"] = {**own, **(told if isinstance(told, dict) else {})}


def _format(reader: Reader, ability: Ability, wire: dict[str, Any]) -> None:
    kind, schema = reader.schema()
    if kind == "json_object":
        reader.cannot("response_format", "JSON needs a schema here. Send type 'json_schema'.")
    elif kind == "json_schema" and not ability.structured:
        reader.cannot("response_format", "this model does not enforce a JSON schema.")
    elif kind == "json_schema":
        form = reader.body["response_format"]["json_schema"]
        described = {"name": str(form.get("name") or "answer"), "schema": json.dumps(schema)}
        wire["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": described}}}


def _thinking(
    reader: Reader, ability: Ability, wire: dict[str, Any], limits: dict[str, Any], *, forced: bool
) -> None:
    """Claude thinks as it does at home; Converse hands its fields on."""
    fields: dict[str, Any] = {"max_tokens": limits["maxTokens"] or _ROOM}
    thinking(reader, ability, fields, asked=limits["maxTokens"], blocked=forced or _lost_thinking(reader))
    room = fields.pop("max_tokens")
    if fields:
        wire["additionalModelRequestFields"] = fields
        if "budget_tokens" in fields.get("thinking", {}):
            limits["maxTokens"] = room


def _lost_thinking(reader: Reader) -> bool:
    """Whether the last turns are a round of tools whose thinking the client did not keep."""
    for turn in reversed(list(reader.turns())):
        if turn.role == "assistant":
            return bool(turn.message.get("tool_calls")) and not of_claude(turn.message)
        if turn.role != "tool":
            return False
    return False


def _tools(reader: Reader, ability: Ability, wire: dict[str, Any], model: str) -> bool:
    """Writes ``toolConfig``; whether the model is forced to use a tool."""
    tools: list[dict[str, Any]] = []
    points: dict[str, list[dict[str, Any]]] = {}
    for at, function in reader.functions():
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        tool: dict[str, Any] = {"name": function["name"], "inputSchema": {"json": schema}}
        if function.get("description"):
            tool["description"] = function["description"]
        if function.get("strict") and ability.structured:
            tool["strict"] = True
        elif function.get("strict"):
            reader.cannot(f"{at}.function.strict", "this model does not enforce a tool's schema.")
        tools.append(tool)
        points[function["name"]] = _point(function, model) if "anthropic." in model else []
    used = [block["toolUse"]["name"] for message in wire["messages"] for block in message["content"]
            if "toolUse" in block]  # fmt: skip
    if not tools and used:  # Converse wants them defined as long as they are spoken of
        gone = {"description": _GONE, "inputSchema": {"json": {"type": "object"}}}
        wire["toolConfig"] = {"tools": [{"toolSpec": {"name": name, **gone}} for name in dict.fromkeys(used)]}
    if not tools:
        return False
    mode, name = reader.choice()
    if mode == "none" and not used:
        return False
    if mode == "none":
        reader.cannot("tool_choice", "tools cannot be forbidden once they were used.")
    forced = mode in ("required", "named")
    if forced and not ability.forcing:
        reader.cannot("tool_choice", "this model cannot be made to use a tool.")
        forced, name = False, ""
    if isinstance(name, list):
        tools = [tool for tool in tools if tool["name"] in name]
    listed = [one for tool in tools for one in ({"toolSpec": tool}, *points[tool["name"]])]
    config: dict[str, Any] = {"tools": listed}
    if forced:
        config["toolChoice"] = {"tool": {"name": name}} if mode == "named" else {"any": {}}
    wire["toolConfig"] = config
    return forced


# ------------------------------------------------------------------------------------------------ turns
def _turns(reader: Reader, model: str) -> dict[str, Any]:
    """``system`` and ``messages``; neighbouring turns of one role become one, as Converse demands."""
    system: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    for turn in reader.spoken():
        if turn.role in ("system", "developer"):
            for at, part in said(reader, turn):
                given = _pointed(part, _block(reader, at, part, model), model)
                if "text" in given[0]:
                    system += given
                else:  # instructions are text alone here
                    merge(messages, "user", given)
            continue
        role = "assistant" if turn.role == "assistant" else "user"
        blocks = {"assistant": _assistant, "tool": _result}.get(turn.role, _blocks)(reader, turn, model)
        merge(messages, role, blocks)
    if messages and messages[0]["role"] == "assistant":  # a greeting, which OpenAI takes and Converse refuses
        messages.insert(0, {"role": "user", "content": [{"text": SAID_NOTHING}]})
    if not messages and system:
        last = max(at for at, block in enumerate(system) if "text" in block)  # OpenAI answers instructions alone
        system, alone = system[:last], system[last:]
        messages.append({"role": "user", "content": alone})
    _name_apart(messages)
    return {"system": system, "messages": messages} if system else {"messages": messages}


def _name_apart(messages: list[dict[str, Any]]) -> None:
    """Converse refuses two documents of one name."""
    seen: dict[str, int] = {}
    for message in messages:
        for block in message["content"]:
            for one in (block, *block.get("toolResult", {}).get("content", ())):
                if "document" in one:
                    name = one["document"]["name"]
                    seen[name] = seen.get(name, 0) + 1
                    if seen[name] > 1:
                        one["document"]["name"] = f"{name[:190]} ({seen[name]})"


def _blocks(reader: Reader, turn: Turn, model: str) -> list[dict[str, Any]]:
    return [
        block for at, part in said(reader, turn) for block in _pointed(part, _block(reader, at, part, model), model)
    ]


def _pointed(said: Mapping[str, Any], block: dict[str, Any], model: str) -> list[dict[str, Any]]:
    return [block, *_point(said, model)]


def _point(said: Mapping[str, Any], model: str) -> list[dict[str, Any]]:
    """What a client marks with ``cache_control`` ends with a cache point here."""
    mark = cache_wish(said)
    if mark is None:
        return []
    long = {"ttl": "1h"} if mark.get("ttl") == "1h" and _CACHES_LONG.search(model) else {}
    return [{"cachePoint": {"type": "default", **long}}]


def _forget_points(wire: dict[str, Any]) -> None:
    holders = [*wire["messages"], wire]
    for holder in holders:
        name = "system" if holder is wire else "content"
        if name in holder:
            holder[name] = [block for block in holder[name] if "cachePoint" not in block]


def _block(reader: Reader, at: str, part: Mapping[str, Any], model: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = str(part.get(str(kind)))
        if "document" in part and "anthropic." in model:
            return {"document": {"format": "txt", "source": {"text": text}, **_own(part, "document")}}
        return {"text": text}
    if kind == "image_url":
        return _image(reader, at, url_of(part))
    if kind == "file":
        reader.not_claudes_at_home(part, at)
        return _document(reader, at, part, model)
    if kind == SEARCH_RESULT:
        names = ("source", "title", "content", "citations")
        found = {name: part[name] for name in names if part.get(name) is not None}
        return {"searchResult": {**found, "content": [{"text": one["text"]} for one in part["content"]]}}
    if kind == "input_audio" and _HEARS.search(model):
        audio = part.get("input_audio")
        audio = audio if isinstance(audio, dict) else {}
        return {"audio": {"format": str(audio.get("format")), "source": {"bytes": str(audio.get("data") or "")}}}
    raise reader.refused(at, f"Parts of the type '{str(kind)[:40]}' are not supported here.")


def _image(reader: Reader, at: str, url: str) -> dict[str, Any]:
    found = data_url(url)
    if found is not None and found[0] in _IMAGES:
        return {"image": {"format": _IMAGES[found[0]], "source": {"bytes": found[1]}}}
    param = f"{at}.image_url"
    if is_web_url(url):
        raise reader.refused(param, "Images by address are not supported here. Send a data: address.")
    raise reader.refused(
        param, "An image must be a PNG, JPEG, GIF or WebP as a data: address.", code="invalid_value"
    )


def _document(reader: Reader, at: str, part: Mapping[str, Any], model: str) -> dict[str, Any]:
    file = part.get("file")
    file = file if isinstance(file, dict) else {}
    found = data_url(str(file.get("file_data") or ""))
    if found is None or found[0] not in _DOCUMENTS:
        why = "A file must be a PDF, a text, docx or xlsx in 'file_data', as a data: address."
        raise reader.no_document(f"{at}.file", why, _DOCUMENTS.__contains__)
    own = _own(part if "anthropic." in model else {}, str(file.get("filename") or "document"))
    return {"document": {"format": _DOCUMENTS[found[0]], "source": {"bytes": found[1]}, **own}}


def _own(part: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A document's name, and what Anthropic's own client said of it: its context, and whether to cite it."""
    own = part.get("document")
    own = own if isinstance(own, dict) else {}
    plain = _NOT_IN_A_NAME.sub(" ", str(own.get("title") or name)).strip() or "document"
    more = {key: own[key] for key in ("context", "citations") if own.get(key) is not None}
    return {"name": plain[:200], **more}


def _assistant(reader: Reader, turn: Turn, model: str) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for kept in of_claude(turn.message):
        if kept["type"] == "thinking":
            text = {"text": str(kept.get("thinking") or ""), "signature": kept["signature"]}
            blocks.append({"reasoningContent": {"reasoningText": text}})
        else:
            blocks.append({"reasoningContent": {"redactedContent": kept["data"]}})
    blocks += _blocks(reader, turn, model)
    for _, id_, name, arguments in reader.calls(turn):
        blocks.append({"toolUse": {"toolUseId": _safe(id_), "name": name, "input": arguments}})
    return blocks


def _result(reader: Reader, turn: Turn, model: str) -> list[dict[str, Any]]:
    id_ = turn.message.get("tool_call_id")
    if not isinstance(id_, str) or not id_:
        param = f"{turn.at}.tool_call_id"
        raise reader.refused(param, f"Missing '{param}'.", code="missing_required_parameter")
    blocks = _blocks(reader, turn, model)
    points = [block for block in blocks if "cachePoint" in block] + _point(turn.message, model)
    content = [block for block in blocks if "cachePoint" not in block] or [{"json": {}}]
    result: dict[str, Any] = {"toolUseId": _safe(id_), "content": content}
    if turn.message.get("is_error") is True and _LEARNS_OF_ERRORS.search(model):
        result["status"] = "error"
    return [{"toolResult": result}, *points[:1]]


def _safe(id_: str) -> str:
    """Ids that came from another provider may be longer, or hold characters that AWS refuses."""
    return _NOT_IN_AN_ID.sub("_", id_)[-64:] or "_"
