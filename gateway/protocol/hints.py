"""Fields of a chat body that hold what only one vendor knows. They go to its providers, and to nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gateway.protocol.client_tools import COMPUTER, KINDS, known
from gateway.protocol.lists import dicts

GOOGLE = "google"
"""Gemini's ``safetySettings``, ``generationConfig``, …"""
ANTHROPIC = "anthropic"
"""Claude's ``thinking`` as its client wrote it, ``cache_control``, …"""
OPENAI = "openai"
"""What OpenAI's Responses API alone understands: tools that run there, what to include of them, how many uses, and
parameters that nobody else has."""
SERVER_TOOLS = "server_tools"
"""Among either: tools that run at that vendor, as their client wrote them, and at which place (``at``) of its tools."""
CLIENT_TOOLS, CLIENT_CALLS = "client_tools", "client_calls"
"""Among OpenAI's: functions by their names that are tools of its own (``client_tools.py``), as their client wrote them;
and their names by the ids of earlier calls."""
NAMESPACES = "namespaces"
"""Among OpenAI's: tools of a namespace, by the names that chat knows them by."""
REASONING = "reasoning"
"""Among OpenAI's: whether thoughts are summed up, and which of them are read again. Effort is everybody's."""
_FARTHEST = 100_000
AT_OPENAI, AT_XAI = "OpenAI", "xAI"
"""Whose tools they are that the Responses API knows beside functions."""
X_SEARCH = "x_search"
"""xAI's tool that searches X."""
CONTAINER = "container"
"""Of Anthropic's: where code runs, and the skills that it has. The answer tells which it was."""
CONTEXT = "context_management"
"""Of Anthropic's: what is cleared from a long conversation before the model reads it. The answer tells what was."""
HINTS = frozenset({GOOGLE, ANTHROPIC, OPENAI})
RETRIEVED = "retrieved"
"""Stands on a text in a tool's result that is retrieved text; for guardrails, and no provider's."""
ON_PARTS = frozenset(
    {"cache_control", "citations", "document", "input_examples", "eager_input_streaming", RETRIEVED}
)
"""What Claude alone, or nobody, reads of a part of a message or of a function."""
CACHE_MARK = "prompt_cache_breakpoint"
"""What OpenAI's clients write on a part up to which a prompt is to be kept; Claude's write ``cache_control``."""
SEARCH_RESULT = "search_result"
"""A part of a message that only Claude takes: a text that was found, with its source and title. It travels as it is."""


def for_claude_alone(part: Mapping[str, Any]) -> str:
    """What makes a part of a message Claude's alone: "search_result", "file_id" (a file of its Files API) or ""."""
    if part.get("type") == SEARCH_RESULT:
        return SEARCH_RESULT
    file = part.get("file")
    held = isinstance(file, dict) and str(file.get("file_id") or "").startswith("file_")  # OpenAI's begin with file-
    return "file_id" if held else ""


def cache_wish(part: Mapping[str, Any]) -> dict[str, Any] | None:
    """A part's wish that the prompt be kept up to here, in Claude's words; None without one."""
    own, mark = part.get("cache_control"), part.get(CACHE_MARK)
    if isinstance(own, dict):
        return own
    if not isinstance(mark, dict):
        return None
    return {"type": "ephemeral", **({"ttl": "1h"} if mark.get("ttl") == "12h" else {})}


def held_image(part: Mapping[str, Any]) -> str:
    """The id of an image that lies at a vendor; "" for any other part."""
    file = part.get("file")
    return str(file.get("file_id") or "") if isinstance(file, dict) and file.get("kind") == "image" else ""


def anthropics_tools(body: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """(place among all tools, tool) of those that run at Anthropic, as their client wrote them; junk is left out."""
    return _placed(own(body, ANTHROPIC))


def openais_tools(body: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """Those that run at OpenAI, likewise."""
    return _placed(own(body, OPENAI))


ALONE = ("truncation", "image", "access_programs")
"""Parameters of OpenAI's Responses API that nobody else has."""
_USUAL = {"truncation": "disabled"}


def asked_of_openai(body: Mapping[str, Any]) -> list[str]:
    """Names of what a request asks that OpenAI's Responses API alone can do. How thoughts are shown changes no answer,
    and others tell theirs anyway."""
    told = own(body, OPENAI)
    found = [name for name in ALONE if told.get(name) and told[name] != _USUAL.get(name)]
    return [*found, "reasoning.mode"] if own(told, REASONING).get("mode") not in (None, "standard") else found


def own(body: Mapping[str, Any], vendor: str) -> Mapping[str, Any]:
    """What a request says to one vendor alone; {} where it says nothing."""
    hints = body.get(vendor)
    return hints if isinstance(hints, dict) else {}


def _placed(hints: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    found = ((one.get("at"), one.get("tool")) for one in dicts(hints.get(SERVER_TOOLS)))
    return [
        (at, tool) for at, tool in found if isinstance(at, int) and 0 <= at <= _FARTHEST and isinstance(tool, dict)
    ]


def clients_own(body: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """(OpenAI's tools that a client runs by the names of their functions, and those names by ids of calls)."""
    told = own(body, OPENAI)
    tools, calls = told.get(CLIENT_TOOLS), told.get(CLIENT_CALLS)
    written = tools.items() if isinstance(tools, dict) else ()
    called = calls.items() if isinstance(calls, dict) else ()
    return (
        {name: one for name, one in written if isinstance(one, dict) and known(one) is not None},
        {id_: name for id_, name in called if isinstance(name, str) and name in KINDS},
    )


class Grouped(Struct, frozen=True):
    """A tool of a namespace. ``about``: how many paragraphs its description in chat begins with that are the
    namespace's."""

    namespace: str
    name: str
    about: int = 0


def grouped(body: Mapping[str, Any]) -> dict[str, Grouped]:
    """Tools that their client wrote in namespaces, by chat's names; junk is left out."""
    told = own(body, OPENAI).get(NAMESPACES)
    if not isinstance(told, dict):
        return {}
    found = ((name, one.get("namespace"), one.get("name"), one.get("about")) for name, one in told.items()
             if isinstance(one, dict))  # fmt: skip
    return {
        name: Grouped(namespace, inner, about if isinstance(about, int) and about > 0 else 0)
        for name, namespace, inner, about in found
        if isinstance(namespace, str) and namespace and isinstance(inner, str) and inner
    }


def googles_tools(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that run at Google, likewise."""
    return dicts(own(body, GOOGLE).get("tools"))


def server_tools(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(vendor, name) of the tools of a request that run there."""
    found = [("Anthropic", str(tool.get("type"))) for _, tool in anthropics_tools(body)]
    for _, tool in openais_tools(body):
        kind = str(tool.get("type"))
        found.append((AT_XAI if kind == X_SEARCH else AT_OPENAI, kind))
    tools, calls = clients_own(body)
    if COMPUTER in tools or COMPUTER in calls.values():
        found.append((AT_OPENAI, COMPUTER))
    return found + [("Google", name) for tool in googles_tools(body) for name in tool]


def wants_citations(body: Mapping[str, Any]) -> bool:
    """Whether a client of Anthropic's wants to know on which places of its documents the answer rests."""
    return bool(own(body, ANTHROPIC).get("citations"))
