"""Searches of the web in each provider's own words; what it has no word for is refused by name.

https://docs.claude.com/en/docs/agents-and-tools/tool-use/web-search-tool, https://ai.google.dev/gemini-api/docs/google-search,
https://platform.openai.com/docs/guides/tools-web-search, https://docs.perplexity.ai/api-reference/chat-completions-post,
https://openrouter.ai/docs/features/web-search, https://docs.x.ai/developers/tools/web-search
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.protocol.hints import OPENAI, own
from gateway.protocol.web_search import NAME, location
from gateway.providers.translate_request import Reader

_IDLE = {"search_context_size": ("medium",)}
_DOMAINS = ("filters.allowed_domains", "filters.blocked_domains")
_FIELDS = ("search_context_size", "user_location", *_DOMAINS, "max_uses", "time_range")


def asked(reader: Reader) -> dict[str, Any] | None:
    """The options of the search that may be made; None when nobody asked for one. Raises AttemptFailed."""
    options = reader.body.get(NAME)
    if options is not None and not isinstance(options, dict):
        raise reader.refused(NAME, f"'{NAME}' must be an object.", code="invalid_type")
    return options


def only(reader: Reader, options: Mapping[str, Any], *known: str) -> None:
    """Refuses what this provider has no word for."""
    for name in _FIELDS:
        value = _value(options, name)
        if value and name not in known and value not in _IDLE.get(name, ()):
            reader.cannot(f"{NAME}.{name}", "this provider has no such setting for its searches.")


def _value(options: Mapping[str, Any], name: str) -> Any:
    outer, _, inner = name.partition(".")
    value = options.get(outer)
    return value.get(inner) if inner and isinstance(value, dict) else None if inner else value


def domains(options: Mapping[str, Any]) -> dict[str, Any]:
    """Both lists of domains, as far as they are told."""
    found = {name: _value(options, f"filters.{name}") for name in ("allowed_domains", "blocked_domains")}
    return {name: value for name, value in found.items() if value}


def _place(options: Mapping[str, Any]) -> dict[str, Any]:
    where = location(options)
    return {"user_location": {"type": "approximate", **where}} if where else {}


def claudes_tool(reader: Reader, options: Mapping[str, Any]) -> dict[str, Any]:
    only(reader, options, "user_location", *_DOMAINS, "max_uses")
    most = options.get("max_uses") or own(reader.body, OPENAI).get("max_tool_calls")
    if most == 0:
        reader.cannot("max_tool_calls", "Claude takes no tool that it may not use. Leave the tool out.")
    uses = {"max_uses": most} if most else {}
    return {"type": "web_search_20250305", "name": "web_search", **uses, **domains(options), **_place(options)}


def geminis_tool(reader: Reader, options: Mapping[str, Any]) -> dict[str, Any]:
    only(reader, options)
    if options.get("required"):
        reader.cannot("tool_choice", "this provider decides by itself whether it searches.")
    return {"googleSearch": {}}


def responses_tool(reader: Reader, options: Mapping[str, Any]) -> dict[str, Any]:
    only(reader, options, "search_context_size", "user_location", *_DOMAINS)
    size = {"search_context_size": options["search_context_size"]} if options.get("search_context_size") else {}
    found = domains(options)
    return {"type": "web_search", **size, **({"filters": found} if found else {}), **_place(options)}


def xais_tool(reader: Reader, options: Mapping[str, Any]) -> dict[str, Any]:
    only(reader, options, *_DOMAINS)
    told = domains(options)
    return {"type": "web_search", **{word: told[name] for word, name in _XAIS if name in told}}


def fit(reader: Reader, wire: dict[str, Any], style: str) -> None:
    """Brings the wish of a request in chat form into the form of a vendor that speaks chat. Raises AttemptFailed."""
    options = asked(reader)
    if options is None:
        return
    if style == "perplexity":
        only(reader, options, "search_context_size", "user_location", *_DOMAINS)
        wire[NAME] = {name: options[name] for name in ("search_context_size",) if options.get(name)}
        wire[NAME] |= {"user_location": location(options)} if location(options) else {}
        told = domains(options)
        named = [*told.get("allowed_domains", ()), *(f"-{one}" for one in told.get("blocked_domains", ()))]
        wire |= {"search_domain_filter": named} if named else {}
    elif style == "openrouter":
        only(reader, options, "search_context_size", *_DOMAINS, "max_uses", "user_location")
        told = domains(options)
        plugin: dict[str, Any] = {"id": "web", **_place(options)}
        plugin |= {"max_uses": options["max_uses"]} if options.get("max_uses") else {}
        plugin |= {f"{word}_domains": told[name] for word, name in _PLUGIN if name in told}
        others = [one for one in wire.get("plugins") or [] if isinstance(one, dict) and one.get("id") != "web"]
        wire["plugins"] = [*others, plugin]
        size = options.get("search_context_size")
        wire.pop(NAME)
        wire |= {NAME: {"search_context_size": size}} if size else {}
    else:
        only(reader, options, "search_context_size", "user_location")
        wire[NAME] = {name: value for name, value in options.items() if name not in _NOT_OPENAIS}


_NOT_OPENAIS = ("filters", "max_uses", "required", "time_range")
_XAIS = (("allowed_domains", "allowed_domains"), ("excluded_domains", "blocked_domains"))
_PLUGIN = (("include", "allowed_domains"), ("exclude", "blocked_domains"))
