"""What a request demands of an answer's form, as far as the candidate's provider does not see to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct, structs

from gateway import errors
from gateway.config import Structured
from gateway.providers import ClassifierProvider, OpenAIProvider
from gateway.providers.codec import AttemptFailed, Enforcement, failed
from gateway.routing.abilities import model_of
from gateway.runtime import Runtime
from gateway.schemas.cache import Schemas
from gateway.schemas.compile import Validator
from gateway.schemas.problems import SchemaRefused
from optimizer.routing.plan import Candidate

_FORMS = frozenset({"json_object", "json_schema"})


class Demand(Struct, frozen=True):
    """``form``: whether the text must be JSON, "" when it is free; ``answer``: the schema of the text, None when any
    JSON does; ``tools``: the schemas of strict tools' arguments by tool name."""

    form: Literal["", "json_object", "json_schema"]
    answer: Validator | None
    tools: Mapping[str, Validator]


def form_of(body: Mapping[str, Any]) -> Literal["", "json_object", "json_schema"]:
    form = body.get("response_format")
    kind = form.get("type") if isinstance(form, dict) else None
    return kind if kind in _FORMS else ""


def asks_for_form(body: Mapping[str, Any]) -> bool:
    """Whether there is anything to see to at all; most requests end here."""
    return ("response_format" in body or "tools" in body) and bool(form_of(body) or strict_tools(body))


def strict_tools(body: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """(place, function) of the tools with ``strict: true`` and parameters."""
    found = []
    for at, tool in enumerate(body.get("tools") or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and function.get("strict") is True and "parameters" in function:
            found.append((at, function))
    return found


def enforcement(runtime: Runtime, candidate: Candidate) -> Enforcement:
    """What the candidate's provider guarantees: the dialect's or the vendor's word, and for compatible vendors
    what is known of the model before it. A server of somebody's own may call any model by OpenAI's names."""
    found = runtime.codecs[candidate.provider].enforces(candidate.model)
    settings = runtime.config.providers.get(candidate.provider)
    if found.settled or settings is None or isinstance(settings, ClassifierProvider):
        return found
    model = model_of(runtime.config.models, candidate.provider, settings.profile, candidate.model)
    if model.capabilities is None:
        return found
    if "json_schema" in model.capabilities:
        own = isinstance(settings, OpenAIProvider) and settings.own_server
        return found if own and not _told(runtime, candidate) else structs.replace(found, schema="strict")
    if "json_object" in model.capabilities:
        return structs.replace(found, schema="json")
    return structs.replace(found, schema="prompt", json="prompt")


def _told(runtime: Runtime, candidate: Candidate) -> bool:
    """Whether the policies themselves say what the model can do."""
    mine = runtime.config.models.get(candidate.provider, {}).get(candidate.model)
    return mine is not None and mine.capabilities is not None


def demand_of(
    body: Mapping[str, Any], level: Enforcement, rules: Structured, schemas: Schemas, *, provider: str, openai: bool
) -> Demand | None:  # fmt: skip
    """None when there is nothing to check. ``openai``: OpenAI's own rules for strict schemas hold, because the
    client speaks its API. Raises AttemptFailed for a schema that cannot be enforced."""
    form = form_of(body)
    answer = None
    if form == "json_schema":
        wrapper = body["response_format"].get("json_schema")
        schema = wrapper.get("schema") if isinstance(wrapper, dict) else None
        if not isinstance(schema, dict):
            raise _incomplete()
        strict = wrapper.get("strict") is True
        if level.schema == "strict":
            form = ""
        elif strict or rules.enforce == "always":
            name = f"response_format '{str(wrapper.get('name') or '')[:64]}'"
            answer = _compiled(schemas, schema, strict and openai, provider, name, "response_format")
    elif form and level.json == "strict":
        form = ""
    tools = {}
    if level.tools != "strict":
        for at, function in strict_tools(body):
            name, param = str(function.get("name"))[:64], f"tools[{at}].function.parameters"
            schema = function["parameters"]
            tools[name] = _compiled(schemas, schema, openai, provider, f"function '{name}'", param)
    return Demand(form, answer, tools) if form or tools else None


def _compiled(schemas: Schemas, schema: Any, strict: bool, provider: str, name: str, param: str) -> Validator:
    try:
        return schemas.of(schema, strict=strict)
    except SchemaRefused as refused:
        message = f"Invalid schema for {name}: at '{refused.path[:300]}': {refused.message}."
        if refused.why == "unsupported":
            message += f" The provider '{provider}' does not enforce schemas itself."
        error = errors.BadRequest(message, param=param, code="invalid_json_schema")
        raise failed("unsupported" if refused.why == "unsupported" else "refused", error) from None


def _incomplete() -> AttemptFailed:
    param = "response_format.json_schema.schema"
    error = errors.BadRequest(
        f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
    )
    return failed("refused", error)
