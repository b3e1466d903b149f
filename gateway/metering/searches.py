"""How often a provider may search for a request, before it is asked: what a budget reserves for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gateway.protocol.file_search import KIND as FILE_SEARCH
from gateway.protocol.hints import HINTS, OPENAI, X_SEARCH, googles_tools, openais_tools, own
from gateway.protocol.web_search import NAME as WEB_SEARCH
from gateway.protocol.web_search import is_search

_GOOGLES = frozenset({"googleSearch", "google_search", "googleSearchRetrieval", "google_search_retrieval"})


class Searches(Struct, frozen=True):
    """Of the web, and of vector stores that lie at the provider."""

    web: int = 0
    files: int = 0


NONE = Searches()


def searches_of(body: Mapping[str, Any]) -> Searches:
    """As many as the client allows, one where it names no number, for each of its choices."""
    wish, tools = body.get(WEB_SEARCH), body.get("tools")
    if wish is None and not tools and HINTS.isdisjoint(body):
        return NONE
    named = [str(one.get("type")) for one in tools or () if isinstance(one, dict)]
    there = [str(tool.get("type")) for _, tool in openais_tools(body)]
    said = _number(own(body, OPENAI), "max_tool_calls")
    web = max(1, _number(wish, "max_uses") or said) if isinstance(wish, dict) else 0
    if not web:
        web = int(any(is_search(one) for one in named) or any(_GOOGLES & tool.keys() for tool in googles_tools(body)))
    files = int(FILE_SEARCH in named)
    if FILE_SEARCH in there:
        files = max(1, said)
    web += there.count(X_SEARCH)
    choices = max(1, _number(body, "n"))
    return Searches(web * choices, files * choices)


def _number(holder: Mapping[str, Any], name: str) -> int:
    value = holder.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
