"""Reading a chat completion request for a provider with a dialect of its own.

The internal form stays OpenAI's map. What a provider cannot take is refused with the parameter's and the
provider's name, or left out where the operator said ``drop_params: true``. Nothing here fetches anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from gateway import errors
from gateway.protocol.file_search import KIND as FILE_SEARCH
from gateway.protocol.hints import (
    ANTHROPIC,
    AT_OPENAI,
    AT_XAI,
    CONTAINER,
    CONTEXT,
    HINTS,
    asked_of_openai,
    for_claude_alone,
    openais_tools,
    own,
    server_tools,
    wants_citations,
)
from gateway.protocol.mcp import KIND as MCP
from gateway.protocol.mcp import SERVERS, TOOLSET
from gateway.protocol.web_search import is_search
from gateway.providers.codec import AttemptFailed, DocumentRefused, failed

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*?;base64,", re.ASCII)
_MODEL_IN_PATH = re.compile(r"(?:tunedModels/)?[A-Za-z0-9][A-Za-z0-9._@-]{0,199}\Z")

INVALID = "_invalid_json"
"""Holds what a model wrote as arguments where it is no JSON object; answers to Anthropic's and Google's clients too."""

SAID_NOTHING = "(an empty message)"
"""What stands for the words of a user who sent none."""
_NAMES = """
audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages metadata
modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_options
prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop store stream
stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options
"""
KNOWN = frozenset(_NAMES.split()) | HINTS
"""OpenAI's own parameters, and what one vendor alone reads; anything else in a body is meant for the provider and goes
out as it is."""


class Turn(Struct, frozen=True):
    """One message: ``at`` is its parameter name for errors."""

    at: str
    role: str
    message: Mapping[str, Any]


class Reader:
    """One request on its way to one provider."""

    __slots__ = ("body", "drop", "provider")

    def __init__(self, provider: str, body: Mapping[str, Any], *, drop: bool) -> None:
        self.provider, self.body, self.drop = provider, body, drop

    def refused(self, param: str, why: str, *, code: str = "unsupported_parameter") -> AttemptFailed:
        """The request cannot be carried out by this provider, whatever is left out; with the default ``code``
        by this one only, and another candidate may be asked."""
        error = errors.CannotDo(f"{why} (provider '{self.provider}')", param=param, code=code)
        return failed("unsupported" if code == "unsupported_parameter" else "refused", error)

    def no_document(self, param: str, why: str, takes: Callable[[str], bool]) -> DocumentRefused:
        """A file is of a type that is not taken here. ``takes``: of which types one may be."""
        error = errors.CannotDo(f"{why} (provider '{self.provider}')", param=param, code="unsupported_parameter")
        return DocumentRefused(error, takes)

    def cannot(self, param: str, why: str) -> None:
        """Raises AttemptFailed, unless the operator allows that parameters are dropped."""
        if not self.drop:
            raise self.refused(param, f"The parameter '{param}' is not supported here: {why}")

    def without(self, names: Mapping[str, tuple[Any, ...]]) -> None:
        """Refuses each named parameter unless it is absent or has one of the values that ask for nothing."""
        for name, idle in names.items():
            value = self.body.get(name)
            if value is not None and value not in idle:
                self.cannot(name, "this provider has no such setting.")

    def cites_nothing(self) -> None:
        """Refuses citations of a client's own documents."""
        if wants_citations(self.body):
            self.cannot("citations", "this provider does not tell on which places of a document its answer rests.")

    def stays_anywhere(self) -> None:
        """Refuses that an answer must be made in one part of the world, which Anthropic alone is told."""
        hints = self.body.get(ANTHROPIC)
        if isinstance(hints, dict) and hints.get("inference_geo"):
            self.cannot("inference_geo", "this provider is not told where to work.")

    def runs_nothing(self, here: str = "", *, servers: bool = False) -> None:
        """Refuses tools that run at another vendor than ``here``, but for searches, which others make too.
        ``servers``: whether MCP servers are called from here, whoever's client names them."""
        for name in asked_of_openai(self.body) if here != AT_OPENAI else ():
            self.cannot(name, "OpenAI's Responses API alone has it.")
        claudes = own(self.body, ANTHROPIC)
        if claudes.get(SERVERS) and not (servers and here == "Anthropic"):
            self.cannot(SERVERS, "this provider calls no MCP servers for a client of Anthropic's API.")
        if claudes.get(CONTAINER) and here != "Anthropic":
            self.cannot(CONTAINER, "containers and skills are Anthropic's alone.")
        if claudes.get(CONTEXT) and not (servers and here == "Anthropic"):
            self.cannot(CONTEXT, "Claude at Anthropic alone clears what tools said from a conversation.")
        for _, tool in openais_tools(self.body) if here != AT_OPENAI else ():
            if tool.get("type") == FILE_SEARCH:
                raise self.refused("tools", _no_stores(tool))
        for vendor, name in server_tools(self.body):
            if name in (MCP, TOOLSET):
                if not servers and name == MCP:
                    self.cannot("tools", "this provider calls no MCP servers.")
            elif vendor != here and not is_search(name):
                raise self.refused("tools", f"The tool '{name[:60]}' is {vendor}'s alone.")

    def only_wishes_thought(self) -> bool:
        """Whether the effort is what a client of Anthropic's says to any model, whatever it can: Claude Code does."""
        said = own(self.body, ANTHROPIC)
        how = said.get("thinking")
        return bool(said.get("effort")) and not (isinstance(how, dict) and how.get("type") == "enabled")

    def cannot_think(self) -> None:
        """For a model that does not think: refuses an effort, but passes over one that is only wished for."""
        if not self.only_wishes_thought():
            self.cannot("reasoning_effort", "this model does not think.")

    def without_claudes_own(self, here: str = "") -> None:
        """Refuses what only Claude takes: citations, search results, files by their id in its Files API, a place, tools
        that run at Anthropic. ``here``: whose tools run at this provider."""
        self.cites_nothing()
        self.stays_anywhere()
        self.runs_nothing(here, servers=here in (AT_OPENAI, AT_XAI))
        for turn in self.turns():
            for at, part in self.parts(turn):
                self.not_claudes(part, at)

    def not_claudes(self, part: Mapping[str, Any], at: str = "") -> None:
        """Raises AttemptFailed for a part that only Claude takes; ``at`` is its place, where that is known."""
        self.not_claudes_at_home(part, at)
        what = for_claude_alone(part)
        if what:
            raise self.refused(at or what, f"Parts of the type '{what}' are understood by Claude alone.")

    def not_claudes_at_home(self, part: Mapping[str, Any], at: str = "") -> None:
        """Raises AttemptFailed for a file that lies at Anthropic, where other hosts of Claude cannot read it."""
        if for_claude_alone(part) == "file_id":
            problem = "A file of Anthropic's Files API can only be read by Claude at Anthropic."
            raise self.refused(at or "file_id", problem)

    def extras(self) -> dict[str, Any]:
        """What is not OpenAI's goes to the provider untouched (an SDK's ``extra_body``), but for :meth:`top_k`."""
        return {name: value for name, value in self.body.items() if name not in KNOWN and name != "top_k"}

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number within the provider's range; out of it is refused, or brought to the nearer end."""
        value = self.body.get(name)
        if value is None:
            return None
        if not low <= value <= high:
            self.cannot(name, f"the value must lie between {low:g} and {high:g}.")
        return min(max(value, low), high)  # type: ignore[no-any-return]

    def top_k(self) -> int | float | None:
        """From how many of the likeliest tokens the next one is drawn: not OpenAI's, but most others have it."""
        value = self.body.get("top_k")
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def token_limit(self) -> int | None:
        limit = self.body.get("max_completion_tokens")
        return limit if limit is not None else self.body.get("max_tokens")

    def stops(self, most: int | None = None) -> list[str]:
        """Stop sequences. Providers refuse blank ones, which OpenAI takes and never meets."""
        found = stops_of(self.body)
        if most is not None and len(found) > most:
            self.cannot("stop", f"at most {most} stop sequences are possible.")
        return found[:most]

    def turns(self) -> Iterator[Turn]:
        for index, message in enumerate(self.body.get("messages") or []):
            at, role = f"messages[{index}]", str(message.get("role"))
            if role == "function" or message.get("function_call"):
                raise self.refused(at, "Function messages are not supported here. Use tools instead.")
            if message.get("audio") and not (message.get("content") or message.get("tool_calls")):
                self.cannot(f"{at}.audio", "this provider never heard it. Send its transcript as 'content'.")
            yield Turn(at, role, message)

    def spoken(self) -> Iterator[Turn]:
        """The turns for a provider that refuses empty ones. OpenAI answers a user who said nothing: without that turn
        at the end a provider would have nothing to answer, or would go on with what it said itself."""
        messages = self.body.get("messages") or []
        for turn in self.turns():
            silent = turn.role == "user" and turn.message is messages[-1] and not any(True for _ in said(self, turn))
            yield Turn(turn.at, turn.role, {**turn.message, "content": SAID_NOTHING}) if silent else turn

    def system(self) -> list[str]:
        """The texts of all system and developer turns, in order."""
        return [
            str(part.get("text"))
            for turn in self.turns()
            if turn.role in ("system", "developer")
            for _, part in self.parts(turn)
            if part.get("type") == "text" and part.get("text")
        ]

    def parts(self, turn: Turn) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(parameter name, part) of a turn's content; plain text becomes one part, and so does what was refused."""
        content, refused = turn.message.get("content"), turn.message.get("refusal")
        if isinstance(content, str):
            if content:
                yield f"{turn.at}.content", {"type": "text", "text": content}
        else:
            for index, part in enumerate(content or []):
                if isinstance(part, dict):
                    yield f"{turn.at}.content[{index}]", part
        if refused and isinstance(refused, str) and turn.role == "assistant":
            yield f"{turn.at}.refusal", {"type": "refusal", "refusal": refused}

    def calls(self, turn: Turn) -> Iterator[tuple[Mapping[str, Any], str, str, dict[str, Any]]]:
        """(call, id, name, arguments) of an assistant turn's tool calls."""
        for index, call in enumerate(turn.message.get("tool_calls") or []):
            at = f"{turn.at}.tool_calls[{index}]"
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                raise self.refused(at, "Only calls of function tools are supported here.")
            yield call, str(call.get("id") or ""), function["name"], _arguments(function)

    def functions(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(parameter name, definition) of each function tool. Raises AttemptFailed for the old ``functions``."""
        for old in ("functions", "function_call"):
            if self.body.get(old):
                raise self.refused(old, f"'{old}' is not supported here. Use 'tools' and 'tool_choice'.")
        for index, tool in enumerate(self.body.get("tools") or []):
            at, function = f"tools[{index}]", tool.get("function")
            if tool.get("type", "function") == "function":
                if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                    raise self.refused(
                        f"{at}.function", "A function tool needs a name.", code="invalid_value"
                    )
                yield at, function
            elif tool.get("type") == "custom":
                self.cannot(f"{at}.type", "custom tools take free text. Define a function.")

    def choice(self) -> tuple[str, str | list[str]]:
        """How tools may be used: ("auto" | "none" | "required", "") or ("named", name) or, for OpenAI's
        ``allowed_tools``, ("auto" | "required", names)."""
        choice = self.body.get("tool_choice")
        if choice is None or isinstance(choice, str):
            if choice not in (None, "auto", "none", "required"):
                raise self.refused("tool_choice", f"'tool_choice' has no value '{choice[:40]}'.")
            return choice or "auto", ""
        if isinstance(choice.get("function"), dict):
            return "named", str(choice["function"].get("name"))
        allowed = choice.get("allowed_tools")
        if isinstance(allowed, dict):
            names = [
                str(tool["function"].get("name"))
                for tool in allowed.get("tools") or []
                if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
            ]
            return ("required" if allowed.get("mode") == "required" else "auto"), names
        raise self.refused("tool_choice", "This form of 'tool_choice' is not supported here.")

    def schema(self) -> tuple[str, dict[str, Any]]:
        """The response format: ("text" | "json_object" | "json_schema", the schema)."""
        form = self.body.get("response_format")
        kind = form.get("type", "text") if isinstance(form, dict) else "text"
        if kind != "json_schema":
            return ("json_object" if kind == "json_object" else "text"), {}
        wrapper = form.get("json_schema") if isinstance(form, dict) else None
        schema = wrapper.get("schema") if isinstance(wrapper, dict) else None
        if not isinstance(schema, dict):
            param = "response_format.json_schema.schema"
            raise self.refused(param, "A json_schema needs its 'schema'.", code="invalid_value")
        return "json_schema", schema

    def model_in_path(self, model: str) -> str:
        """A model name that is safe inside a URL: it may come from the client."""
        name = model.removeprefix("models/")
        if not _MODEL_IN_PATH.match(name):
            raise self.refused("model", f"'{model[:80]}' is not a model's name.", code="model_not_found")
        return name


def _arguments(function: Mapping[str, Any]) -> dict[str, Any]:
    """What a call of an earlier turn asked. A model may have written what is no JSON object, or was cut off: OpenAI
    takes it back, and an agent that was refused for it could never go on."""
    text = function.get("arguments") or "{}"
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {INVALID: text}


def stops_of(body: Mapping[str, Any]) -> list[str]:
    """Without blank ones, which OpenAI takes and never meets."""
    stop = body.get("stop")
    found = [stop] if isinstance(stop, str) else [one for one in stop or [] if isinstance(one, str)]
    return [one for one in found if one.strip()]


def met_stop(asked: Mapping[str, Any]) -> str:
    """The stop sequence that was met where the provider says only that one was: "" when it may be any of several."""
    found = stops_of(asked)
    return found[0] if len(found) == 1 else ""


def data_url(url: str) -> tuple[str, str] | None:
    """(media type, base64) of a data URL; None for anything else."""
    found = _DATA_URL.match(url)
    return (found.group(1), url[found.end() :]) if found else None


def type_of(file_data: str) -> str:
    """The media type of a file as its sender tells it; "" where it does not."""
    found = data_url(file_data)
    return found[0] if found is not None else ""


def none_of(media_type: str) -> bool:
    """What is taken where no files are."""
    return False


def is_web_url(url: str) -> bool:
    return url.startswith(("https://", "http://"))


def url_of(part: Mapping[str, Any]) -> str:
    """The address of an image part, whether written as a map or as a plain text."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    return url if isinstance(url, str) else ""


def said(reader: Reader, turn: Turn) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A turn's parts without blank texts, which some providers refuse."""
    for at, part in reader.parts(turn):
        if part.get("type") != "text" or str(part.get("text") or "").strip():
            yield at, part


def merge(messages: list[dict[str, Any]], role: str, blocks: list[dict[str, Any]]) -> None:
    """Appends a turn; neighbouring turns of one role become one."""
    if messages and messages[-1]["role"] == role:
        messages[-1]["content"] += blocks
    elif blocks:
        messages.append({"role": role, "content": blocks})


def _no_stores(tool: Mapping[str, Any]) -> str:
    ids = tool.get("vector_store_ids")
    named = ", ".join(f"'{str(one)[:80]}'" for one in ids) if isinstance(ids, list) else "that is named"
    return f"The vector store {named} is not one of this gateway's, and this provider searches none of its own."
