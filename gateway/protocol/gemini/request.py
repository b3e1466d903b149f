"""A generateContent request in chat form, or an error that names the field.

https://ai.google.dev/api/generate-content. What only Gemini knows travels in the chat body's ``google`` and is read
by Gemini providers alone; what would change an answer and cannot be said in chat is refused.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from gateway.errors import BadRequest
from gateway.protocol.body import typed
from gateway.protocol.chat import effort_for
from gateway.protocol.gemini.contents import chat_messages
from gateway.protocol.gemini.schema import closed, json_schema
from gateway.protocol.gemini.shapes import fields, listed, text, unsupported
from gateway.protocol.hints import GOOGLE
from gateway.protocol.web_search import NAME as WEB_SEARCH


class Thinking(Struct, frozen=True, rename="camel"):
    include_thoughts: bool = False
    thinking_budget: Annotated[int, Meta(ge=-1)] | None = None
    thinking_level: str | None = None


class Settings(Struct, frozen=True, rename="camel"):
    """``generationConfig``; ranges are Google's."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[float, Meta(ge=0)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop_sequences: list[str] | None = None
    candidate_count: Annotated[int, Meta(ge=1, le=8)] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_mime_type: str | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: dict[str, Any] | None = None
    response_modalities: list[str] | None = None
    thinking_config: Thinking | None = None
    media_resolution: str | None = None


class GenerateRequest(Struct, frozen=True, rename="camel"):
    """The typed view of ``POST /v1beta/models/{model}:generateContent``."""

    contents: Any
    system_instruction: Any = None
    tools: Any = None
    tool_config: dict[str, Any] | None = None
    generation_config: Settings = Settings()
    safety_settings: list[dict[str, Any]] | None = None
    model: str | None = None

    @property
    def thinks(self) -> bool:
        """Whether the client wants to see thoughts."""
        thinking = self.generation_config.thinking_config
        return thinking is not None and thinking.include_thoughts


_SAME = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_output_tokens": "max_completion_tokens",
    "candidate_count": "n",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
_DEFAULTS = {"top_p": ("topP", 0.95), "top_k": ("topK", 64)}
"""What Gemini's models do unasked, by its name on the wire. gemini-cli says it to any model, many of which would refuse
to hear it: so it is told to Gemini alone."""
PARAMS = {
    "messages": "contents",
    "tool_choice": "toolConfig.functionCallingConfig",
    "stop": "generationConfig.stopSequences",
    "top_p": "generationConfig.topP",
    "top_k": "generationConfig.topK",
    "temperature": "generationConfig.temperature",
    "n": "generationConfig.candidateCount",
    "seed": "generationConfig.seed",
    "max_completion_tokens": "generationConfig.maxOutputTokens",
    "max_tokens": "generationConfig.maxOutputTokens",
    "presence_penalty": "generationConfig.presencePenalty",
    "frequency_penalty": "generationConfig.frequencyPenalty",
    "logprobs": "generationConfig.responseLogprobs",
    "top_logprobs": "generationConfig.logprobs",
    "response_format": "generationConfig.responseSchema",
    "reasoning_effort": "generationConfig.thinkingConfig",
    "web_search_options": "tools.googleSearch",
}
"""What a parameter of the chat form is called here, for errors."""
_KNOWN = {
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "generationConfig",
    "safetySettings",
    "model",
}
_SETTINGS = frozenset(Settings.__struct_encode_fields__)
_LEVELS = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high", "XHIGH": "xhigh"}
_THERE = ("googleSearch", "codeExecution", "urlContext")
"""Tools that run at Google."""
_MODES = {"AUTO": "auto", "MODE_UNSPECIFIED": "auto", "VALIDATED": "auto", "ANY": "required", "NONE": "none"}


def read(data: dict[str, Any]) -> GenerateRequest:
    """Raises BadRequest."""
    told = fields(data, "body")
    for name in told:
        if name not in _KNOWN:
            raise unsupported(name, "this gateway does not support it. Leave it out.")
    if "generationConfig" in told:
        settings = fields(told["generationConfig"], "generationConfig")
        for name in settings:
            if name not in _SETTINGS:
                raise unsupported(
                    f"generationConfig.{name}", "this gateway does not support it. Leave it out."
                )
        if "thinkingConfig" in settings:
            settings["thinkingConfig"] = fields(settings["thinkingConfig"], "generationConfig.thinkingConfig")
        told["generationConfig"] = settings
    return typed(told, GenerateRequest)


def chat_body(request: GenerateRequest, model: str, *, stream: bool) -> dict[str, Any]:
    """The chat form of a request. Raises BadRequest for what cannot be said in it."""
    settings = request.generation_config
    body: dict[str, Any] = {
        "model": model,
        "messages": chat_messages(request.system_instruction, request.contents),
    }
    if stream:
        body["stream"] = True
    for name, chat in _SAME.items():
        value = getattr(settings, name)
        if value is not None and value != _DEFAULTS.get(name, (None, None))[1]:
            body[chat] = value
    if settings.stop_sequences:
        body["stop"] = settings.stop_sequences
    if settings.response_logprobs:
        body["logprobs"] = True
        if settings.logprobs:
            body["top_logprobs"] = settings.logprobs
    if [one.upper() for one in settings.response_modalities or ["TEXT"]] != ["TEXT"]:
        raise unsupported("generationConfig.responseModalities", "only TEXT can be asked for here.")
    own = _own_tools(request.tools)
    body |= _format(settings) | _tools(request.tools) | _choice(request.tool_config) | _search(own)
    body |= _effort(settings.thinking_config) | _hints(request, own)
    return body


def _format(settings: Settings) -> dict[str, Any]:
    where, given = "generationConfig.responseSchema", settings.response_schema
    schema: Any = json_schema(given, where) if given is not None else settings.response_json_schema
    kind = settings.response_mime_type or ("text/plain" if schema is None else "application/json")
    if kind == "text/plain" and schema is None:
        return {}
    if kind != "application/json":
        raise unsupported(
            "generationConfig.responseMimeType",
            "must be text/plain, or application/json with or without a schema.",
        )
    if schema is None:
        return {"response_format": {"type": "json_object"}}
    narrow, strict = closed(schema)
    form = {"name": "answer", "schema": narrow, "strict": strict}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


def _effort(thinking: Thinking | None) -> dict[str, Any]:
    """Levels are efforts by another name; a budget in tokens becomes the nearest one. -1 leaves it to the model."""
    if thinking is None:
        return {}
    if thinking.thinking_level is not None:
        level = _LEVELS.get(thinking.thinking_level.upper())
        if level is None:
            param = "generationConfig.thinkingConfig.thinkingLevel"
            raise BadRequest(f"'{param}' must be one of {', '.join(_LEVELS)}.", param=param)
        return {"reasoning_effort": level}
    budget = thinking.thinking_budget
    if budget is None or budget < 0:
        return {}
    return {"reasoning_effort": effort_for(budget) if budget else "none"}


def _hints(request: GenerateRequest, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """What Gemini providers read as it was written."""
    settings = request.generation_config
    own: dict[str, Any] = {}
    thinking = settings.thinking_config
    if thinking is not None:
        own["thinkingConfig"] = {
            name: value
            for name, value in (
                ("includeThoughts", thinking.include_thoughts or None),
                ("thinkingBudget", thinking.thinking_budget),
                ("thinkingLevel", thinking.thinking_level),
            )
            if value is not None
        }
    if settings.media_resolution is not None:
        own["mediaResolution"] = settings.media_resolution
    own |= {wire: value for name, (wire, value) in _DEFAULTS.items() if getattr(settings, name) == value}
    hints: dict[str, Any] = {"generationConfig": own} if own else {}
    if tools:
        hints["tools"] = tools
    if request.safety_settings:
        hints["safetySettings"] = request.safety_settings
    return {GOOGLE: hints} if hints else {}


# ---------------------------------------------------------------- tools
def _tools(given: Any) -> dict[str, Any]:
    tools: list[dict[str, Any]] = []
    for at, tool in enumerate(listed(given if given is not None else [], "tools")):
        for kind, value in tool.items():
            where = f"tools[{at}].{kind}"
            if kind in _THERE:
                continue  # in ``_own_tools``
            if kind != "functionDeclarations":
                raise unsupported(where, "this gateway does not support it. Leave it out.")
            tools += [_function(one, f"{where}[{i}]") for i, one in enumerate(listed(value, where))]
    return {"tools": tools} if tools else {}


def _own_tools(given: Any) -> list[dict[str, Any]]:
    """The tools that run at Google, as they were written."""
    listed_ones = listed(given if given is not None else [], "tools")
    return [{kind: value} for tool in listed_ones for kind, value in tool.items() if kind in _THERE]


def _search(own: list[dict[str, Any]]) -> dict[str, Any]:
    """A search of the web, in the words that every provider that searches is asked in."""
    for tool in own:
        if "googleSearch" in tool:
            asked = fields(tool["googleSearch"] or {}, "tools.googleSearch")
            blocked, since = asked.get("excludeDomains"), asked.get("timeRangeFilter")
            found = {"filters": {"blocked_domains": blocked} if blocked else None, "time_range": since}
            return {WEB_SEARCH: {name: value for name, value in found.items() if value}}
    return {}


def _function(told: dict[str, Any], where: str) -> dict[str, Any]:
    function: dict[str, Any] = {"name": text(told, "name", where)}
    if told.get("description"):
        function["description"] = told["description"]
    if "parametersJsonSchema" in told:
        function["parameters"] = told["parametersJsonSchema"]
    elif "parameters" in told:
        function["parameters"] = json_schema(told["parameters"], f"{where}.parameters")
    return {"type": "function", "function": function}


def _choice(given: dict[str, Any] | None) -> dict[str, Any]:
    told = fields(given, "toolConfig") if given is not None else {}
    for name in told:
        if name != "functionCallingConfig":
            raise unsupported(f"toolConfig.{name}", "this gateway does not support it. Leave it out.")
    if not told:
        return {}
    where = "toolConfig.functionCallingConfig"
    config = fields(told["functionCallingConfig"], where)
    mode = _MODES.get(str(config.get("mode", "AUTO")).upper())
    if mode is None:
        raise BadRequest(f"'{where}.mode' must be AUTO, ANY, VALIDATED or NONE.", param=f"{where}.mode")
    names = config.get("allowedFunctionNames") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        param = f"{where}.allowedFunctionNames"
        raise BadRequest(f"'{param}' must be a list of names.", param=param)
    if not names or mode == "none":
        return {"tool_choice": mode}
    functions = [{"type": "function", "function": {"name": name}} for name in names]
    if len(functions) == 1 and mode == "required":
        return {"tool_choice": functions[0]}
    return {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": functions}}}
