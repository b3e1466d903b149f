"""The tools that a request of the Responses API offers, in one flat list as chat has them. Pure.

Clients group tools in namespaces, add some on the way (``additional_tools``) and let their model look for more
(``tool_search``); some are OpenAI's own, which a client runs (``client_tools.py``). Chat has functions and custom tools
alone, so one in a namespace is offered as ``namespace__name``, and a call of it is told under both names again (at
OpenAI itself, whose newer models know namespaces, ``providers/responses/namespaces.py`` puts them together again). A
search that OpenAI would make over tools that it was told is needless, since they are all offered; one that the client
makes is a function, and what it found is offered later on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from gateway.errors import BadRequest
from gateway.protocol.client_tools import KINDS, ClientTool, function_of, known, runs_at_openai

NAMESPACE, ADDED = "namespace", "additional_tools"
SEARCH, SEARCH_CALL, SEARCH_OUTPUT = "tool_search", "tool_search_call", "tool_search_output"
_OTHERWISE = frozenset({NAMESPACE, ADDED, SEARCH, SEARCH_OUTPUT}) | KINDS
_NAMED = ("function", "custom")
_LONGEST = 64
"""Characters of a function's name that every provider takes."""


class Offer(Struct, frozen=True):
    """A tool under the name that chat knows it by, and the place where its client wrote it."""

    where: str
    tool: dict[str, Any]
    namespace: str = ""
    name: str = ""
    searches: bool = False
    """Whether it is the client's search for tools."""
    own: ClientTool | None = None
    """Which of the tools it is that OpenAI's models have learnt and its client runs."""
    written: dict[str, Any] = {}
    """Such a tool as its client wrote it."""
    about: int = 0
    """How many paragraphs of its description are its namespace's."""

    @property
    def renamed(self) -> bool:
        """Whether its calls are told otherwise than chat's."""
        return bool(self.namespace) or self.searches or self.own is not None


Origins = Mapping[str, Offer]
"""What calls have to be told as, by the name that chat knows."""
NO_ORIGINS: Origins = MappingProxyType({})


def flat_name(namespace: str, name: str) -> str:
    """The name of a namespace's tool in chat, always the same one."""
    whole = f"{namespace}__{name}"
    if len(whole) <= _LONGEST:
        return whole
    return f"{whole[: _LONGEST - 9]}_{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def flat_call(item: Mapping[str, Any], name: str) -> str:
    """The name in chat of what an item calls."""
    namespace = item.get("namespace")
    return flat_name(namespace, name) if isinstance(namespace, str) and namespace else name


def offered(
    tools: Sequence[dict[str, Any]], earlier: Sequence[dict[str, Any]], items: Sequence[dict[str, Any]]
) -> list[Offer]:
    """What may be called: the request's own ``tools`` and those that its items bring, the ``earlier`` ones' too; of one
    name the latest. Raises BadRequest that names the place of what is no tool, or of two that chat could not tell
    apart."""
    found = [offer for at, tool in enumerate(tools) for offer in _opened(f"tools[{at}]", tool)]
    places: dict[Any, int] = {}
    for at, offer in enumerate(found):
        if offer.tool.get("type") in _NAMED:
            name = offer.tool["name"]
            before = found[places.get(name, at)]
            if before is not offer and (before.renamed or offer.renamed):
                raise _alike(offer if offer.renamed else before)
            places[name] = at
    for offer in chain(_brought(earlier, "input"), _brought(items)):
        known = places.get(offer.tool.get("name"))
        if known is None:
            places[offer.tool.get("name")] = len(found)
            found.append(offer)
        elif not _same(found[known], offer):
            raise _alike(offer)
        else:
            found[known] = offer
    return found


def origins(
    tools: Sequence[dict[str, Any]], earlier: Sequence[dict[str, Any]], items: Sequence[dict[str, Any]]
) -> Origins:
    """Those of what is :func:`offered` whose calls are told otherwise. Most requests have none."""
    if not any(one.get("type") in _OTHERWISE for one in chain(tools, earlier, items)):
        return NO_ORIGINS
    return {one.tool["name"]: one for one in offered(tools, earlier, items) if one.renamed}


def chosen(choice: Mapping[str, Any], offers: Sequence[Offer]) -> str:
    """The name in chat of the tool that a choice names: a namespace may be left out where it is clear."""
    own = known(choice)
    if own is not None:
        return own.name
    name = str(choice["name"])
    if choice.get("namespace") or any(one.tool.get("name") == name for one in offers):
        return flat_call(choice, name)
    return next((one.tool["name"] for one in offers if one.namespace and one.name == name), name)


def told_found(item: Mapping[str, Any]) -> str:
    """What a model reads of its search for tools: the names, since the tools are offered beside it."""
    names = [one.tool["name"] for one in _brought([item])]
    return f"These tools are available now: {', '.join(names)}." if names else "No such tool was found."


def _brought(items: Sequence[Mapping[str, Any]], named: str = "") -> Iterator[Offer]:
    """``named``: how the place of each is called, where it has none in the request."""
    for at, item in enumerate(items):
        if item.get("type") not in (ADDED, SEARCH_OUTPUT):
            continue
        tools = item.get("tools")
        for number, tool in enumerate(tools if isinstance(tools, list) else ()):
            where = f"{named or f'input[{at}]'}.tools[{number}]"
            for offer in _opened(where, tool):
                if offer.tool.get("type") not in _NAMED:
                    kind = str(offer.tool.get("type"))[:60]
                    raise _refused(where, f"Tools of type '{kind}' cannot be added by an item. Name it in 'tools'.")
                yield offer


def _opened(where: str, tool: Any) -> Iterator[Offer]:
    """A tool, or all of a namespace's; nothing for a search that needs nobody to make it."""
    if not isinstance(tool, dict):
        raise BadRequest(f"Invalid type for '{where}': expected an object.", param=where, code="invalid_type")
    kind = tool.get("type")
    if kind == NAMESPACE:
        yield from _of_namespace(where, tool)
    elif kind == SEARCH:
        if tool.get("execution") == "client":
            fields = {name: tool[name] for name in ("description", "parameters") if tool.get(name) is not None}
            yield Offer(where, {"type": "function", "name": SEARCH, **fields}, name=SEARCH, searches=True)
    elif (own := known(tool)) is not None:
        if runs_at_openai(tool):
            problem = "A shell in a container at OpenAI is not supported by this gateway. Use the type 'local'."
            raise _refused(f"{where}.environment", problem)
        yield Offer(where, function_of(own), name=own.name, own=own, written=tool)
    else:
        yield Offer(where, tool, name=_named(tool, where) if kind in _NAMED else "")


def _of_namespace(where: str, namespace: dict[str, Any]) -> Iterator[Offer]:
    """The namespace's own description stands before its first tool's: chat has no other place for it."""
    tools, about, group = namespace.get("tools"), namespace.get("description"), _named(namespace, where)
    for at, tool in enumerate(tools if isinstance(tools, list) else ()):
        place = f"{where}.tools[{at}]"
        if not isinstance(tool, dict) or tool.get("type") not in _NAMED:
            raise _refused(f"{place}.type", "A namespace holds tools of the types 'function' and 'custom'.")
        name = _named(tool, place)
        told = {**tool, "name": flat_name(group, name)}
        first = bool(about) and not at
        if first:
            told["description"] = f"{about}\n\n{tool.get('description') or ''}".strip()
        yield Offer(place, told, group, name, about=str(about).strip().count("\n\n") + 1 if first else 0)


def _named(tool: Mapping[str, Any], where: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        param = f"{where}.name"
        raise BadRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    return name


def _same(one: Offer, other: Offer) -> bool:
    return (one.namespace, one.name, one.searches) == (other.namespace, other.name, other.searches)


def _alike(offer: Offer) -> BadRequest:
    name = str(offer.tool["name"])
    how = "those of a namespace are offered as namespace__name, OpenAI's own under their type"
    problem = f"Two tools would be '{name}': {how}. Rename one."
    return BadRequest(problem, param=f"{offer.where}.name", code="invalid_value")


def _refused(param: str, message: str) -> BadRequest:
    return BadRequest(message, param=param, code="unsupported_parameter")
