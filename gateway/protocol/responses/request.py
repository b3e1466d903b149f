"""OpenAI's Responses API, the request: into chat form, or an error that names the parameter. Pure.

Conversation state is given to :func:`chat_body` as items; this file does not know where it is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.errors import BadRequest
from gateway.protocol.client_tools import calls_in, known
from gateway.protocol.file_search import CALL, KIND, NAME, RESULTS, function_tool
from gateway.protocol.hints import (
    ALONE,
    CLIENT_CALLS,
    CLIENT_TOOLS,
    NAMESPACES,
    OPENAI,
    REASONING,
    SERVER_TOOLS,
    X_SEARCH,
)
from gateway.protocol.mcp import KIND as MCP
from gateway.protocol.offered import Offer, chosen, offered
from gateway.protocol.responses.items import chat_messages
from gateway.protocol.web_search import NAME as WEB_SEARCH
from gateway.protocol.web_search import is_search, wish


class _Named(Struct, frozen=True):
    id: str


class ResponsesRequest(Struct, frozen=True):
    """The typed view of ``POST /v1/responses``; ranges are OpenAI's."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    input: str | list[dict[str, Any]] = []
    instructions: str | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: str | _Named | None = None
    prompt: Any = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tool_calls: Annotated[int, Meta(ge=0)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    reasoning: dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    image: dict[str, Any] | None = None
    access_programs: dict[str, Any] | None = None
    context_management: list[Any] | None = None
    background_options: dict[str, Any] | None = None
    include: list[str] | None = None
    service_tier: str | None = None
    stream_options: dict[str, Any] | None = None

    @property
    def kept(self) -> bool:
        """Whether the response may be read, and continued, later: unless the client says no."""
        return self.store is not False

    @property
    def conversation_id(self) -> str | None:
        """The conversation that this response belongs to."""
        return self.conversation.id if isinstance(self.conversation, _Named) else self.conversation

    @property
    def items(self) -> list[dict[str, Any]]:
        """The input as items."""
        if isinstance(self.input, str):
            return [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": self.input}]}
            ]
        return self.input


_OURS = frozenset(ResponsesRequest.__struct_fields__)
_PASSED = (
    "model", "stream", "parallel_tool_calls", "temperature", "top_p", "metadata", "user", "safety_identifier",
    "service_tier",
)  # fmt: skip
_OTHER_API = {"messages": "input", "max_tokens": "max_output_tokens", "response_format": "text.format",
              "max_completion_tokens": "max_output_tokens", "reasoning_effort": "reasoning.effort"}  # fmt: skip
_NOT_TOLD = frozenset({"client_metadata"})
"""What clients tell OpenAI of themselves (codex: its session and folders): no provider's business; most refuse it."""
_RUN_THERE = (MCP, X_SEARCH, "code_interpreter", "image_generation")
"""Types of tools that chat has no word for, and that are passed on to whoever runs them."""
_OUTPUTS = "code_interpreter_call.outputs"
_LOGPROBS = "message.output_text.logprobs"
# But for RESULTS and _OUTPUTS nothing of these has to be asked of a provider.
_EMPTY_INCLUDES = frozenset({
    "reasoning.encrypted_content", "message.input_image.image_url", RESULTS,
    "web_search_call.results", "web_search_call.action.sources", _OUTPUTS,
    "computer_call_output.output.image_url",
})  # fmt: skip


def check_state(request: ResponsesRequest) -> None:
    """Raises BadRequest when a request continues two things at once."""
    if request.conversation is not None and request.previous_response_id is not None:
        raise BadRequest(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Send one of them.",
            param="previous_response_id",
            code="mutually_exclusive_parameters",
        )


def chat_body(
    data: dict[str, Any], request: ResponsesRequest, earlier: Sequence[dict[str, Any]], *, there: bool = False
) -> dict[str, Any]:
    """The chat form of a request that continues ``earlier`` items. A parameter born after this file passes
    through. ``there``: the vector stores that are named lie at OpenAI, which searches them. Raises BadRequest for what
    chat cannot say."""
    _check(data, request)
    body = {name: data[name] for name in _PASSED if data.get(name) is not None}
    unknown = ((name, value) for name, value in data.items() if name not in _OURS and name not in _NOT_TOLD)
    body.update((name, value) for name, value in unknown if value is not None)
    passed_over = frozenset({CALL}) if there else frozenset[str]()
    body["messages"] = chat_messages(request.instructions, earlier, request.items, passed_over=passed_over)
    if request.store is False:
        body["store"] = False
    if request.max_output_tokens is not None:
        body["max_completion_tokens"] = request.max_output_tokens
    kinds = (*_RUN_THERE, KIND) if there else _RUN_THERE
    offers = offered(request.tools or (), earlier, request.items)
    own = [(at, one.tool) for at, one in enumerate(offers) if one.tool.get("type") in kinds]
    if offers:
        body.update(_tools(offers, own))
    hints = _hints(request, own) | _by_the_client(offers, calls_in(request.items, earlier))
    if hints:
        body[OPENAI] = hints
    if request.tool_choice is not None and "tool_choice" not in body.get(OPENAI, {}):
        body.update(_tool_choice(request.tool_choice, offers, body))
    if request.top_logprobs is not None or _LOGPROBS in (request.include or ()):
        body["logprobs"] = True
        body.update({"top_logprobs": request.top_logprobs} if request.top_logprobs is not None else {})
    effort = (request.reasoning or {}).get("effort")
    if effort is not None:
        body["reasoning_effort"] = effort
    body.update(_text(request.text or {}))
    return body


def _check(data: dict[str, Any], request: ResponsesRequest) -> None:
    for name, instead in _OTHER_API.items():
        if data.get(name) is not None:
            raise _unsupported(
                name, f"'{name}' belongs to chat completions. In the Responses API use '{instead}' instead."
            )
    for name, given, instead in (
        (
            "background",
            request.background,
            "Ask without it: the answer comes with this request, or as a stream",
        ),
        (
            "context_management", request.context_management,
            "Ask POST /v1/responses/compact when the conversation has become long",
        ),
        (
            "background_options.completion_window",
            (request.background_options or {}).get("completion_window") in ("2h", "8h"),
            "What runs in the background begins at once: use 'soonest'",
        ),
        ("n", data.get("n") not in (None, 1), "Ask several times"),
    ):
        if given:
            raise _unsupported(name, f"'{name}' is not supported by this gateway. {instead}.")
    for at, name in enumerate(request.include or ()):
        if name != _LOGPROBS and name not in _EMPTY_INCLUDES:
            raise _unsupported(f"include[{at}]", f"'{name[:80]}' cannot be included by this gateway.")
    if request.stream_options is not None and not request.stream:
        raise BadRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    goes_on = request.conversation is not None or request.previous_response_id is not None
    if not request.items and not goes_on and not request.instructions and data.get("prompt") is None:
        raise BadRequest(
            "Missing required parameter: 'input'.", param="input", code="missing_required_parameter"
        )


def _hints(request: ResponsesRequest, own: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """What OpenAI is told as its client wrote it: how thoughts are shown, what nobody else has, tools that run there,
    and what is said of them. How many uses they may have concerns searches of the web too, which stand elsewhere."""
    wished = ((name, getattr(request, name)) for name in ALONE)
    found: dict[str, Any] = {name: value for name, value in wished if value not in (None, "disabled", {})}
    if request.max_tool_calls is not None and (own or any(is_search(tool.get("type")) for tool in request.tools or ())):
        found["max_tool_calls"] = request.max_tool_calls
    shown = {name: value for name, value in (request.reasoning or {}).items() if name != "effort" and value is not None}
    if shown:
        found[REASONING] = shown
    if not own:
        return found
    found[SERVER_TOOLS] = [{"at": at, "tool": tool} for at, tool in own]
    wanted = [name for name in (RESULTS, _OUTPUTS) if name in (request.include or ())]
    if wanted:
        found["include"] = wanted
    choice = request.tool_choice
    if isinstance(choice, dict) and _names(choice, {tool.get("type") for _, tool in own}):
        found["tool_choice"] = choice
    return found


def _by_the_client(offers: Sequence[Offer], calls: dict[str, str]) -> dict[str, Any]:
    """Which functions OpenAI knows as tools of its own, which calls were such, and which tools stood in namespaces:
    there they are told so."""
    tools = {one.name: one.written for one in offers if one.own is not None}
    spaces = {
        one.tool["name"]: {"namespace": one.namespace, "name": one.name, "about": one.about}
        for one in offers
        if one.namespace
    }
    told = {CLIENT_TOOLS: tools, CLIENT_CALLS: calls, NAMESPACES: spaces}
    return {name: value for name, value in told.items() if value}


def _names(choice: dict[str, Any], kinds: set[Any]) -> bool:
    """Whether a choice names a tool of these types, or allows one."""
    allowed = choice["tools"] if isinstance(choice.get("tools"), list) else []
    return any(isinstance(one, dict) and one.get("type") in kinds for one in (choice, *allowed))


def _tools(offers: Sequence[Offer], own: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """Functions, and a search of the web, which chat has another place for. ``own``: those that run at OpenAI."""
    searches = [one for one in offers if is_search(one.tool.get("type"))]
    there = {at for at, _ in own}
    functions = [_tool(one) for at, one in enumerate(offers) if one not in searches and at not in there]
    found: dict[str, Any] = {"tools": functions} if functions else {}
    if searches and searches[0].tool.get("external_web_access") is False:
        param = f"{searches[0].where}.external_web_access"
        raise _unsupported(param, "Searches without the web are not supported by this gateway.")
    return found | ({WEB_SEARCH: wish(searches[0].tool)} if searches else {})


def _tool(offer: Offer) -> dict[str, Any]:
    tool, kind = offer.tool, offer.tool.get("type")
    if kind == KIND:
        return function_tool()
    if kind not in ("function", "custom"):
        raise _unsupported(
            f"{offer.where}.type",
            f"Tools of type '{str(kind)[:60]}' are not supported by this gateway. Use type 'function'.",
        )
    if kind == "custom":
        return _custom_tool(tool)
    fields = ("name", "description", "parameters", "strict")
    function = {name: tool[name] for name in fields if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _custom_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """Chat keeps a grammar one level deeper."""
    custom = {name: tool[name] for name in ("name", "description", "format") if tool.get(name) is not None}
    form = custom.get("format")
    if isinstance(form, dict) and form.get("type") == "grammar" and "grammar" not in form:
        grammar = {name: value for name, value in form.items() if name != "type"}
        custom["format"] = {"type": "grammar", "grammar": grammar}
    return {"type": "custom", "custom": custom}


def _tool_choice(
    choice: str | dict[str, Any], offers: Sequence[Offer], body: dict[str, Any]
) -> dict[str, Any]:
    if isinstance(choice, str):
        return {"tool_choice": choice}
    if WEB_SEARCH in body and is_search(choice.get("type")):
        return {WEB_SEARCH: {**body[WEB_SEARCH], "required": True}}
    if choice.get("type") == KIND and any(one.tool.get("type") == KIND for one in offers):
        return {"tool_choice": {"type": "function", "function": {"name": NAME}}}
    kind = choice.get("type")
    if _is_own(choice, offers):
        return {"tool_choice": {"type": "function", "function": {"name": chosen(choice, offers)}}}
    if kind in ("function", "custom") and isinstance(choice.get("name"), str):
        return {"tool_choice": {"type": kind, kind: {"name": chosen(choice, offers)}}}
    if kind == "allowed_tools" and isinstance(choice.get("tools"), list):
        allowed = [_allowed(one, at, offers) for at, one in enumerate(choice["tools"])]
        return {"tool_choice": {"type": kind, kind: {"mode": choice.get("mode"), "tools": allowed}}}
    raise _unsupported(
        "tool_choice",
        '\'tool_choice\' must be none, auto, required, allowed_tools or a tool, as {"type": "function", "name": ...}.',
    )


def _is_own(choice: dict[str, Any], offers: Sequence[Offer]) -> bool:
    """Whether a choice is one of OpenAI's tools that a client runs, and that is offered."""
    own = known(choice)
    return own is not None and any(one.own is own for one in offers)


def _allowed(choice: Any, at: int, offers: Sequence[Offer]) -> Any:
    """One of the tools that a request allows. Raises BadRequest for what chat's list cannot name."""
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == KIND and any(one.tool.get("type") == KIND for one in offers):
        return {"type": "function", "function": {"name": NAME}}
    if isinstance(choice, dict) and _is_own(choice, offers):
        return {"type": "function", "function": {"name": chosen(choice, offers)}}
    if kind not in ("function", "custom") or not isinstance(choice.get("name"), str):
        raise _unsupported(f"tool_choice.tools[{at}]", "Functions, custom tools and 'file_search' can be listed.")
    return {"type": kind, kind: {"name": chosen(choice, offers)}}


def _text(text: dict[str, Any]) -> dict[str, Any]:
    wishes: dict[str, Any] = {}
    if text.get("verbosity") is not None:
        wishes["verbosity"] = text["verbosity"]
    wanted = text.get("format")
    if wanted is None:
        return wishes
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object":
        wishes["response_format"] = {"type": "json_object"}
    elif kind == "json_schema":
        for name in ("name", "schema"):
            if not wanted.get(name):
                param = f"text.format.{name}"
                raise BadRequest(
                    f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
                )
        fields = ("name", "description", "schema", "strict")
        schema = {name: wanted[name] for name in fields if wanted.get(name) is not None}
        wishes["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind != "text":
        raise _unsupported("text.format.type", "'text.format.type' must be text, json_object or json_schema.")
    return wishes


def _unsupported(param: str, message: str) -> BadRequest:
    return BadRequest(message, param=param, code="unsupported_parameter")
