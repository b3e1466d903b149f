"""Anthropic's Messages API, the request: into chat form, or an error that names the field.

Source: Anthropic's public API reference, "Messages". What only Claude understands travels along for providers that
speak Anthropic's dialect (``cache_control``, thinking with its signatures, ``is_error``); others are not sent it. What
chat has no word for and would change the answer is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta, Struct

from gateway.errors import BadRequest
from gateway.protocol.chat import effort_for
from gateway.protocol.hints import ANTHROPIC, CONTAINER, CONTEXT, SERVER_TOOLS
from gateway.protocol.mcp import SERVERS, TOOLSET
from gateway.protocol.messages.content import cached, chat_messages, text_in, unsupported
from gateway.protocol.web_search import NAME as WEB_SEARCH
from gateway.protocol.web_search import is_search, wish


class MessagesRequest(Struct, frozen=True):
    """The typed view of ``POST /v1/messages``; ranges are Anthropic's."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: list[dict[str, Any]]
    max_tokens: Annotated[int, Meta(ge=1)]
    system: str | list[dict[str, Any]] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    output_config: dict[str, Any] | None = None
    speed: str | None = None
    inference_geo: str | None = None
    mcp_servers: list[dict[str, Any]] | None = None
    container: str | dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None
    """What ``output_config.format`` was called in its beta; older clients still say so."""

    @property
    def thinks(self) -> bool:
        return bool(self.thinking) and (self.thinking or {}).get("type") != "disabled"


class CountRequest(Struct, frozen=True):
    """The typed view of ``POST /v1/messages/count_tokens``."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: list[dict[str, Any]]
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None


_KNOWN = frozenset(MessagesRequest.__struct_fields__) | {CONTEXT, "cache_control"}
_EDITS = ("clear_tool_uses_", "clear_thinking_")
NO_THREADS = "thread_unsupported_request"
"""What Anthropic's clients know to go on after: they send the whole conversation from then on."""
_THERE = (
    "web_search_", "web_fetch_", "code_execution_", "tool_search_tool_", TOOLSET,
    "bash_", "text_editor_", "computer_", "memory_",
)  # fmt: skip
"""How the types of tools begin that run at Anthropic, or that its clients run themselves and Claude alone has learnt:
their schemas are Anthropic's and stand in no request."""
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_TIERS = {"auto": "auto", "standard_only": "default"}


def chat_body(data: dict[str, Any], request: MessagesRequest) -> dict[str, Any]:
    """The chat form of a request. Raises BadRequest for what cannot be said in it."""
    if data.get("thread") is not None:
        problem = "Threads are not kept by this gateway. Send the whole conversation, without 'thread'."
        raise BadRequest(problem, param="thread", code=NO_THREADS)
    for name, value in data.items():
        if name not in _KNOWN and value is not None:
            raise unsupported(name, f"'{name}' is not supported by this gateway. Leave it out.")
    body: dict[str, Any] = {
        "model": request.model,
        "messages": chat_messages(request.system, request.messages),
        "max_completion_tokens": request.max_tokens,
    }
    for name in ("stream", "temperature", "top_p", "top_k"):
        if getattr(request, name) is not None:
            body[name] = getattr(request, name)
    if request.stop_sequences:
        body["stop"] = request.stop_sequences
    own = _server_tools(request.tools or [])
    functions = [_tool(tool, at) for at, tool in enumerate(request.tools or []) if not _claudes_alone(tool)]
    if functions:
        body["tools"] = functions
    body.update(_search(own))
    if request.tool_choice is not None:
        body.update(_tool_choice(request.tool_choice, body))
    if request.service_tier in _TIERS:
        body["service_tier"] = _TIERS[request.service_tier]
    user = (request.metadata or {}).get("user_id")
    if isinstance(user, str):
        body["user"] = user
    body.update(_thinking(request))
    hints = _hints(data, request) | ({SERVER_TOOLS: own} if own else {})
    return {**body, ANTHROPIC: hints} if hints else body


def _hints(data: dict[str, Any], request: MessagesRequest) -> dict[str, Any]:
    """What Claude is told as its client wrote it."""
    effort = (request.output_config or {}).get("effort")
    found = {"thinking": request.thinking, "effort": effort, "cache_control": data.get("cache_control"),
             "citations": _wants_citations(request.messages), "speed": request.speed,
             "inference_geo": request.inference_geo, SERVERS: request.mcp_servers,
             CONTAINER: request.container, CONTEXT: _cleared(data.get(CONTEXT))}  # fmt: skip
    return {name: value for name, value in found.items() if value}


def _wants_citations(messages: list[dict[str, Any]]) -> bool:
    """Whether the answer has to say on which places of a document or of something found it rests."""
    return any(
        isinstance(block.get("citations"), dict) and block["citations"].get("enabled") is True
        for message in messages
        for block in _sources(message.get("content"))
    )


def _sources(content: Any) -> Iterator[dict[str, Any]]:
    """The documents and search results of a turn, those in results of tools too."""
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict) and block.get("type") in ("document", "search_result"):
            yield block
        elif isinstance(block, dict) and block.get("type") == "tool_result":
            yield from _sources(block.get("content"))


def _thinking(request: MessagesRequest) -> dict[str, Any]:
    """Effort and output format; a thinking budget in tokens becomes the nearest effort."""
    wishes: dict[str, Any] = {}
    config = request.output_config or {}
    for name, value in config.items():
        if name not in ("effort", "format") and value is not None:
            raise unsupported(f"output_config.{name}", f"'output_config.{name}' is not supported by this gateway.")
    if config.get("effort") is not None:
        effort = str(config["effort"])
        wishes["reasoning_effort"] = "high" if effort in ("max", "xhigh") else effort
    elif (request.thinking or {}).get("type") == "enabled":
        budget = (request.thinking or {}).get("budget_tokens")
        if not isinstance(budget, int) or budget < 1024:
            raise BadRequest(
                "'thinking.budget_tokens' must be a whole number of at least 1024.",
                param="thinking.budget_tokens",
            )
        wishes["reasoning_effort"] = effort_for(budget)
    name = "output_format" if config.get("format") is None else "output_config.format"
    wanted = config.get("format") or request.output_format
    if isinstance(wanted, dict):
        if wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
            raise unsupported(name, f"'{name}' must be of type 'json_schema'.")
        schema = {"name": "answer", "schema": wanted["schema"], "strict": True}
        wishes["response_format"] = {"type": "json_schema", "json_schema": schema}
    return wishes


def _cleared(value: Any) -> dict[str, Any] | None:
    """``context_management`` where Claude has something to do. Old thinking is left out here anyway, for every model;
    what tools said and were asked only Claude clears by itself. Raises BadRequest for any other edit, which would be
    left undone."""
    if value is None:
        return None
    edits = value.get("edits") if isinstance(value, dict) else None
    kinds = [str(edit.get("type", "")) if isinstance(edit, dict) else "" for edit in edits or ()]
    if not isinstance(edits, list) or not all(kind.startswith(_EDITS) for kind in kinds):
        raise unsupported(
            CONTEXT, "'context_management' edits other than clear_tool_uses and clear_thinking are not supported."
        )
    return value if any(kind.startswith(_EDITS[0]) for kind in kinds) else None


# ---------------------------------------------------------------- tools
def _claudes_alone(tool: dict[str, Any]) -> bool:
    return str(tool.get("type")).startswith(_THERE)


def _server_tools(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that Claude alone is told of, with their places among all."""
    return [{"at": at, "tool": tool} for at, tool in enumerate(tools) if _claudes_alone(tool)]


def _search(own: list[dict[str, Any]]) -> dict[str, Any]:
    """A search of the web, in the words that every provider that searches is asked in."""
    found = [wish(one["tool"]) for one in own if is_search(one["tool"].get("type"))]
    return {WEB_SEARCH: found[0]} if found else {}


def _tool(tool: dict[str, Any], at: int) -> dict[str, Any]:
    """One that is deferred is offered at once: a search for it saves tokens, and not every model makes one."""
    if tool.get("type") not in (None, "custom"):
        raise unsupported(
            f"tools.{at}.type",
            f"tools.{at}: tools of the type '{str(tool['type'])[:60]}' are not supported by this gateway.",
        )
    function = {"name": text_in(tool, "name", f"tools.{at}"), "parameters": tool.get("input_schema") or {}}
    if tool.get("allowed_callers") not in (None, ["direct"]):
        param = f"tools.{at}.allowed_callers"
        raise unsupported(param, f"tools.{at}: 'allowed_callers' needs tools that run at Anthropic.")
    for name in ("description", "strict", "input_examples", "eager_input_streaming"):
        if tool.get(name) is not None:
            function[name] = tool[name]
    return {"type": "function", "function": function | cached(tool)}


def _tool_choice(choice: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    kind = choice.get("type")
    wishes: dict[str, Any] = {}
    if kind == "tool" and WEB_SEARCH in body and choice.get("name") == "web_search":
        wishes[WEB_SEARCH] = {**body[WEB_SEARCH], "required": True}
    elif kind == "tool":
        function = {"name": text_in(choice, "name", "tool_choice")}
        wishes["tool_choice"] = {"type": "function", "function": function}
    elif kind in _CHOICES:
        wishes["tool_choice"] = _CHOICES[str(kind)]
    else:
        raise BadRequest("'tool_choice.type' must be auto, any, tool or none.", param="tool_choice.type")
    if choice.get("disable_parallel_tool_use") is not None:
        wishes["parallel_tool_calls"] = not choice["disable_parallel_tool_use"]
    return wishes
