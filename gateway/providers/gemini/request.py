"""A chat completion request as a body for Gemini's generateContent."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.protocol import server_blocks
from gateway.protocol.foreign_thoughts import call_signatures
from gateway.protocol.gemini.code import code_part
from gateway.protocol.gemini.shapes import signature_of
from gateway.protocol.hints import GOOGLE, googles_tools
from gateway.protocol.lists import dicts
from gateway.providers.capabilities import Ability, most_stops
from gateway.providers.searching import asked, geminis_tool
from gateway.providers.translate_request import Reader, Turn, data_url, is_web_url, type_of, url_of

_BUDGETS = {
    "none": 0,
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
_LEVELS = {"none": "minimal", "minimal": "minimal", "low": "low", "medium": "medium", "high": "high",
           "xhigh": "high", "max": "high"}  # fmt: skip
_TIERS = ("flex", "priority")
_NOTHING_ASKED: dict[str, tuple[Any, ...]] = {
    "logit_bias": ({},), "audio": (), "modalities": ([], ["text"]),
    "verbosity": ("medium",), "service_tier": ("auto", "default", *_TIERS), "moderation": (),
}  # fmt: skip
_OFFICE = ("application/vnd.openxmlformats-officedocument", "application/vnd.ms-", "application/msword")
_AUDIO = {"wav": "audio/wav", "mp3": "audio/mp3"}
_OUR_CALL = "call_"
NO_SIGNATURE = "skip_thought_signature_validator"
"""What Google documents for calls whose thought signature is not known, such as those another model made.
https://ai.google.dev/gemini-api/docs/thought-signatures"""


def request_body(reader: Reader, ability: Ability) -> dict[str, Any]:
    """Raises AttemptFailed with a BadRequest for what Gemini cannot take."""
    reader.without(_NOTHING_ASKED)
    reader.without_claudes_own("Google")
    wire: dict[str, Any] = {"contents": _contents(reader, ability)}
    system = [{"text": text} for text in reader.system()]
    if system and not wire["contents"]:
        wire["contents"] = [{"role": "user", "parts": [system.pop()]}]  # OpenAI answers instructions alone
    if system:
        wire["systemInstruction"] = {"parts": system}
    _tools(reader, wire)
    settings = _settings(reader, ability)
    extras = reader.extras()
    hints = reader.body.get(GOOGLE)
    extras |= {name: value for name, value in hints.items() if name != "tools"} if isinstance(hints, dict) else {}
    own = extras.pop("generationConfig", None)
    if isinstance(own, dict):
        settings = {**settings, **own}
    if settings:
        wire["generationConfig"] = settings
    if reader.body.get("service_tier") in _TIERS:
        wire["serviceTier"] = reader.body["service_tier"]
    for name, value in extras.items():
        wire.setdefault(name, value)
    return wire


def _settings(reader: Reader, ability: Ability) -> dict[str, Any]:
    body = reader.body
    found: dict[str, Any] = {
        "temperature": reader.number("temperature", 0, 2),
        "topP": reader.number("top_p", 0, 1),
        "topK": reader.top_k(),
        "maxOutputTokens": reader.token_limit(),
        "stopSequences": reader.stops(most_stops("gemini")) or None,
        "candidateCount": body.get("n") if body.get("n") != 1 else None,
        "seed": body.get("seed"),
        "presencePenalty": body.get("presence_penalty") or None,
        "frequencyPenalty": body.get("frequency_penalty") or None,
        "thinkingConfig": _thinking(reader, ability),
    }
    if body.get("logprobs"):
        found["responseLogprobs"], found["logprobs"] = True, body.get("top_logprobs") or None
    kind, schema = reader.schema()
    if kind != "text":
        found["responseMimeType"] = "application/json"
    if kind == "json_schema":
        found["responseJsonSchema"] = schema
    return {name: value for name, value in found.items() if value is not None}


def _thinking(reader: Reader, ability: Ability) -> dict[str, Any] | None:
    effort = reader.body.get("reasoning_effort")
    if effort is None:
        return None
    if effort not in _BUDGETS:
        raise reader.refused(
            "reasoning_effort", f"There is no effort '{str(effort)[:40]}'.", code="invalid_value"
        )
    if ability.thinking == "none":
        if effort != "none":
            reader.cannot_think()
        return None
    shown = {} if effort == "none" else {"includeThoughts": True}
    if ability.thinking == "level":
        return {"thinkingLevel": _LEVELS[effort], **shown}
    return {"thinkingBudget": max(_BUDGETS[effort], ability.least), **shown}


def _tools(reader: Reader, wire: dict[str, Any]) -> None:
    declarations = []
    for at, function in reader.functions():
        one = {"name": function["name"]}
        if function.get("description"):
            one["description"] = function["description"]
        if function.get("parameters"):
            one["parametersJsonSchema"] = function["parameters"]
        if function.get("strict"):
            reader.cannot(f"{at}.function.strict", "this provider does not enforce a tool's schema.")
        declarations.append(one)
    # Google's own tools (googleSearch, codeExecution, …) have no `type`'s counterpart at OpenAI.
    tools = [
        {name: value for name, value in tool.items() if name != "type"}
        for tool in reader.body.get("tools") or []
        if tool.get("type", "function") not in ("function", "custom")
    ]
    search = asked(reader)
    tools += googles_tools(reader.body)
    if search is not None and not any("googleSearch" in tool for tool in tools):
        tools.append(geminis_tool(reader, search))
    if declarations:
        tools.append({"functionDeclarations": declarations})
    if tools:
        wire["tools"] = tools
    mode, name = reader.choice()
    if not declarations or (mode == "auto" and not name):
        return
    config: dict[str, Any] = {"mode": {"none": "NONE", "auto": "AUTO"}.get(mode, "ANY")}
    if isinstance(name, list) and mode == "auto":
        # Names may only be listed beside ANY; leaving the other declarations out comes to the same.
        tools[-1]["functionDeclarations"] = [one for one in declarations if one["name"] in name]
    elif name:
        config["allowedFunctionNames"] = [name] if isinstance(name, str) else name
    wire["toolConfig"] = {"functionCallingConfig": config}


# ------------------------------------------------------------------------------------------------ contents
def _contents(reader: Reader, ability: Ability) -> list[dict[str, Any]]:
    """Neighbouring turns of one role become one, so that all results of a round of tools stand together. Instructions
    are text alone here, so that files and images among them stand where they were given, as the user's."""
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for turn in _in_order(reader.spoken()):
        if turn.role == "assistant":
            role, parts = "model", _model(reader, turn, names, signed=ability.thinking == "level")
        else:
            role = "user"
            parts = _result(reader, turn, names) if turn.role == "tool" else _parts(reader, turn)
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        elif parts:
            contents.append({"role": role, "parts": parts})
    return contents


def _parts(reader: Reader, turn: Turn) -> list[dict[str, Any]]:
    instructs = turn.role in ("system", "developer")  # whose texts have a place of their own
    return [_part(reader, at, part) for at, part in reader.parts(turn) if not instructs or part.get("type") != "text"]


def _part(reader: Reader, at: str, part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        return {"text": str(part.get(str(kind)) or "")}
    if kind == "image_url":
        return _media(reader, f"{at}.image_url", url_of(part))
    if kind == "input_audio":
        audio = part.get("input_audio")
        audio = audio if isinstance(audio, dict) else {}
        mime = _AUDIO.get(str(audio.get("format")))
        if mime is None:
            raise reader.refused(
                f"{at}.input_audio.format", "Audio must be wav or mp3.", code="invalid_value"
            )
        return {"inlineData": {"mimeType": mime, "data": str(audio.get("data") or "")}}
    if kind == "file":
        file = part.get("file")
        file = file if isinstance(file, dict) else {}
        address = next((file[name] for name in ("file_data", "file_url", "file_id") if file.get(name)), "")
        if not _reads(type_of(str(address))):
            why = "Office documents are not taken here. Send a PDF or the text."
            raise reader.no_document(f"{at}.file", why, _reads)
        return _media(reader, f"{at}.file", str(address), file.get("format"))
    raise reader.refused(at, f"Parts of the type '{str(kind)[:40]}' are not supported here.")


def _reads(media_type: str) -> bool:
    return not media_type.startswith(_OFFICE)


def _media(reader: Reader, at: str, url: str, told: Any = None) -> dict[str, Any]:
    """Bytes go along, addresses are Google's to open."""
    found = data_url(url)
    if found is not None:
        return {"inlineData": {"mimeType": found[0], "data": found[1]}}
    if is_web_url(url):
        kind = told if isinstance(told, str) and told else mimetypes.guess_type(urlsplit(url).path)[0]
        return {"fileData": {"fileUri": url, **({"mimeType": kind} if kind else {})}}
    if url.startswith("file-"):
        raise reader.refused(at, "A file's id is known where it was uploaded, and not here. Send 'file_data'.")
    raise reader.refused(at, "This must be a data: or an https: address.", code="invalid_value")


def _in_order(turns: Iterable[Turn]) -> Iterator[Turn]:
    """Results in the order of their calls, by which Google tells those of one function apart. OpenAI knows them by
    their ids, so its clients send them in any order: whichever tool was ready first."""
    results, places = list[Turn](), dict[str, int]()

    def place(turn: Turn) -> int:
        return places.get(str(turn.message.get("tool_call_id")), len(places))

    for turn in turns:
        if turn.role == "tool":
            results.append(turn)
            continue
        yield from sorted(results, key=place)
        results = []
        if turn.role == "assistant":
            calls = dicts(turn.message.get("tool_calls"))
            places = {str(call.get("id")): at for at, call in enumerate(calls)}
        yield turn
    yield from sorted(results, key=place)


def _model(reader: Reader, turn: Turn, names: dict[str, str], *, signed: bool) -> list[dict[str, Any]]:
    """Text and calls of an earlier answer, with their thought signatures where the client kept them."""
    parts = _with_code(turn.message, _parts(reader, turn))
    signature = signature_of(turn.message)
    if signature and parts:
        parts[-1]["thoughtSignature"] = signature
    first, travelled = True, call_signatures(turn.message)
    for call, id_, name, arguments in reader.calls(turn):
        names[id_] = name
        one: dict[str, Any] = {"name": name, "args": arguments}
        if id_ and not id_.startswith(_OUR_CALL):
            one["id"] = id_
        part: dict[str, Any] = {"functionCall": one}
        known = signature_of(call) or travelled.get(id_, "")
        if known or (signed and first):
            part["thoughtSignature"] = known or NO_SIGNATURE
        parts.append(part)
        first = False
    return parts


def _with_code(message: Mapping[str, Any], parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts of an earlier answer with the code that Gemini ran for it, where that stood."""
    done = [{**one, "block": code_part(one["block"])} for one in server_blocks.of(message) if _ran_here(one["block"])]
    texts = [{"type": "text", "text": part["text"]} for part in parts if "text" in part]
    woven = server_blocks.woven(done, [], texts) if done else []
    return [{"text": one["text"]} if "text" in one else one for one in woven] if done else parts


def _ran_here(block: dict[str, Any]) -> bool:
    return server_blocks.is_ours(block) and code_part(block) is not None


def _result(reader: Reader, turn: Turn, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """A tool's answer. Gemini wants the function's name, which OpenAI's message leaves to the call."""
    id_ = turn.message.get("tool_call_id")
    name = names.get(str(id_))
    if name is None:
        param = f"{turn.at}.tool_call_id"
        raise reader.refused(param, f"No earlier call has the id '{str(id_)[:80]}'.", code="invalid_value")
    texts, media = [], []
    for at, part in reader.parts(turn):
        if part.get("type") == "text":
            texts.append(str(part.get("text") or ""))
        else:
            media.append(_part(reader, at, part))
    response: dict[str, Any] = {"name": name, "response": _as_object("\n".join(texts))}
    if id_ and not str(id_).startswith(_OUR_CALL):
        response["id"] = id_
    return [{"functionResponse": response}, *media]


def _as_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    return value if isinstance(value, dict) else {"result": value}
