"""Tools in namespaces, where a model knows namespaces: chat has them flat, and OpenAI is told them in their groups,
with calls under both names. A choice can name no tool of a namespace there, so such a request stays flat. Pure.

https://platform.openai.com/docs/guides/function-calling
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.protocol.hints import AT_OPENAI, Grouped, grouped

_KNOW = re.compile(r"gpt-(?:5\.(?:[4-9]|\d\d)|[6-9]|\d\d)(?!\d)")
"""Models that were taught namespaces, with the search for tools. Others, and deployments of other names, are offered
flat names, which each of them takes."""
_BETWEEN = "\n\n"
_CALLS = ("function_call", "custom_tool_call")


def groups_at(body: Mapping[str, Any], model: str, here: str) -> dict[str, Grouped]:
    """Tools by chat's names that are told in namespaces; {} where all stay flat."""
    if here != AT_OPENAI or not _KNOW.match(model):
        return {}
    groups = grouped(body)
    return {} if groups and _chosen(body.get("tool_choice")) & groups.keys() else groups


def in_groups(tools: Sequence[dict[str, Any]], groups: Mapping[str, Grouped]) -> list[dict[str, Any]]:
    """Flat tools of this API, each namespace where its first tool stood. The namespace's own description is what that
    tool's begins with, since that has been through the guardrails; one without says its name, because it must say
    something."""
    found: list[dict[str, Any]] = []
    spaces: dict[str, dict[str, Any]] = {}
    for tool in tools:
        group = groups.get(str(tool.get("name")))
        if group is None:
            found.append(tool)
            continue
        space = spaces.get(group.namespace)
        if space is None:
            space = {"type": "namespace", "name": group.namespace, "description": group.namespace, "tools": []}
            spaces[group.namespace] = space
            found.append(space)
        pieces = str(tool.get("description") or "").split(_BETWEEN)
        about, own = _BETWEEN.join(pieces[: group.about]), _BETWEEN.join(pieces[group.about :])
        space["description"] = about or space["description"]
        rest = {name: value for name, value in tool.items() if name != "description"}
        space["tools"].append({**rest, "name": group.name, **({"description": own} if own else {})})
    return found


def called(item: dict[str, Any], groups: Mapping[str, Grouped]) -> dict[str, Any]:
    """An earlier call, under both names: OpenAI refuses one whose namespace is missing."""
    group = groups.get(str(item.get("name"))) if item.get("type") in _CALLS else None
    return item if group is None else {**item, "name": group.name, "namespace": group.namespace}


def _chosen(choice: Any) -> set[str]:
    """Names of tools that chat's choice demands or allows."""
    if not isinstance(choice, dict):
        return set()
    inner = choice.get(str(choice.get("type")))
    if not isinstance(inner, dict):
        return set()
    listed = inner.get("tools")
    allowed = (_chosen(one) for one in listed) if isinstance(listed, list) else ()
    return {str(inner.get("name"))}.union(*allowed)
