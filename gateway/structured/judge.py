"""Whether an answer keeps to what was demanded. Answers that were cut or refused are not wrong: they say so."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from gateway import errors
from gateway.protocol.lists import dicts
from gateway.providers.codec import failed
from gateway.schemas.compile import Validator
from gateway.schemas.running import TooCostly
from gateway.structured.demand import Demand
from gateway.texts.unmasking import unmask

_FENCED = re.compile(r"\s*```(?:json|JSON)?[ \t]*\r?\n(.*?)\r?\n?```\s*\Z", re.DOTALL)
_UNFINISHED = frozenset({"length", "content_filter"})
_decode = msgspec.json.decode


class Wrong(Struct, frozen=True):
    """One thing that is wrong with a choice; ``call`` is the place of the tool call, None for its text."""

    choice: int
    text: str
    call: int | None = None


class Judgement(Struct, frozen=True):
    """``texts``: by choice, the JSON that stood inside a code fence and is right."""

    wrong: tuple[Wrong, ...]
    texts: Mapping[int, str]


def size_of(data: Mapping[str, Any]) -> int:
    """Characters of what has to be read."""
    found = 0
    for choice in dicts(data.get("choices")):
        message = choice.get("message") or {}
        found += len(message.get("content") or "")
        found += sum(len(_arguments(call)) for call in dicts(message.get("tool_calls")))
    return found


def judged(demand: Demand, data: Mapping[str, Any], placeholders: Mapping[str, str]) -> Judgement:
    """Judges every choice of a whole completion. ``placeholders`` stand in it for the client's own values: a text
    is right as it stands or with these. Raises AttemptFailed for a schema that makes too much work."""
    wrong: list[Wrong] = []
    texts: dict[int, str] = {}
    for at, choice in enumerate(dicts(data.get("choices"))):
        message = choice.get("message")
        if (
            not isinstance(message, dict)
            or choice.get("finish_reason") in _UNFINISHED
            or message.get("refusal")
        ):
            continue
        calls = dicts(message.get("tool_calls"))
        for place, call in enumerate(calls):
            validator = demand.tools.get(str((call.get("function") or {}).get("name")))
            if validator is not None:
                faults = _faults(_arguments(call), validator, "json_schema", placeholders)
                wrong += [Wrong(at, text, place) for text in faults]
        if demand.form and not calls and not message.get("function_call"):
            content = message.get("content")
            text = content if isinstance(content, str) else ""
            faults = _faults(text, demand.answer, demand.form, placeholders)
            inside = _FENCED.match(text) if faults else None
            if inside and not _faults(inside.group(1), demand.answer, demand.form, placeholders):
                texts[at] = inside.group(1)
            else:
                wrong += [Wrong(at, one) for one in faults]
    return Judgement(tuple(wrong), texts)


def text_fits(demand: Demand, text: str, placeholders: Mapping[str, str]) -> bool:
    """Whether a plain text is what was demanded."""
    return not demand.form or not _faults(text, demand.answer, demand.form, placeholders)


def _faults(
    text: str, validator: Validator | None, form: str, placeholders: Mapping[str, str]
) -> Sequence[str]:
    faults = _faults_of(text, validator, form)
    if faults and placeholders and not _faults_of(unmask(text, placeholders, in_json=True), validator, form):
        return ()
    return faults


def _faults_of(text: str, validator: Validator | None, form: str) -> Sequence[str]:
    try:
        value = _decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return ("it is not JSON" if text.strip() else "it is empty",)
    if form == "json_object" and not isinstance(value, dict):
        return ("it is JSON, but no object",)
    if validator is None:
        return ()
    try:
        return [str(fault) for fault in validator.faults(value, len(text))]
    except TooCostly:
        error = errors.BadRequest(
            "The JSON schema makes more work than the answer's size allows for. Use fewer alternatives and references.",
            code="invalid_json_schema",
        )
        raise failed("refused", error) from None


def _arguments(call: Mapping[str, Any]) -> str:
    function = call.get("function")
    text = function.get("arguments") if isinstance(function, dict) else None
    return text if isinstance(text, str) else ""
