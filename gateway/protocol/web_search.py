"""A client's wish that the model may search the web, whichever API it came by: chat's ``web_search_options``. Pure.

Beside OpenAI's two fields (``search_context_size``, ``user_location``) it may hold what other APIs can say: ``filters``
(``allowed_domains``, ``blocked_domains``), ``max_uses``, and ``required``: whether it has to be searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAME = "web_search_options"
_PLACE = ("city", "country", "region", "timezone")


def is_search(kind: Any) -> bool:
    """Whether a tool of this type or name, of any vendor's, searches the web."""
    return isinstance(kind, str) and (kind in ("web_search", "googleSearch") or kind.startswith("web_search_"))


def wish(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a tool of the Responses API or of Anthropic's."""
    filters = tool.get("filters")
    told = dict(filters) if isinstance(filters, dict) else {}
    told |= {name: tool[name] for name in ("allowed_domains", "blocked_domains") if tool.get(name)}
    plain = ("search_context_size", "max_uses")
    found: dict[str, Any] = {name: tool[name] for name in plain if tool.get(name) is not None}
    where = tool.get("user_location")
    if isinstance(where, dict):
        found["user_location"] = {"type": "approximate", "approximate": _known(where)}
    if told:
        found["filters"] = {name: value for name, value in told.items() if value}
    return found


def location(options: Mapping[str, Any]) -> dict[str, Any]:
    """City, country, region and timezone, as far as they are told."""
    where = options.get("user_location")
    inner = where.get("approximate", where) if isinstance(where, dict) else None
    return _known(inner) if isinstance(inner, dict) else {}


def _known(where: Mapping[str, Any]) -> dict[str, Any]:
    return {name: where[name] for name in _PLACE if where.get(name)}
