"""Prompt templates that the policies hold, for the ``prompt`` parameter of the Responses API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gateway.config import Config
from gateway.errors import BadRequest, NotFound
from gateway.protocol.body import typed
from gateway.texts.masking import texts_of

_AUTHORS = frozenset({"system", "developer"})
_HOLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_MOST = 100_000
"""Characters of one value."""


class _Asked(Struct, frozen=True):
    id: str
    version: str | None = None
    variables: dict[str, Any] | None = None


class Rendered(Struct, frozen=True):
    """A template with its holes filled: what stands before the conversation, the turns after it, its model, and what
    the caller filled in where the author speaks."""

    instructions: list[dict[str, Any]]
    turns: list[dict[str, Any]]
    model: str
    foreign: tuple[str, ...]


def rendered(config: Config, given: Any) -> Rendered:
    """Raises NotFound for a template or version that is not there, BadRequest for what does not fit its holes."""
    asked = typed({"prompt": given}, _Holder).prompt
    prompt = config.prompts.get(asked.id)
    if prompt is None:
        raise NotFound(f"Prompt with id '{asked.id[:100]}' not found.", param="prompt.id", code="prompt_not_found")
    version = prompt.versions.get(asked.version or prompt.current)
    if version is None:
        text = f"Prompt '{asked.id}' has no version '{(asked.version or '')[:40]}'."
        raise NotFound(text, param="prompt.version", code="prompt_not_found")
    values = asked.variables or {}
    texts = [version.instructions, *(turn.content for turn in version.messages)]
    wanted = {name for text in texts for name in _HOLE.findall(text)}
    for name in sorted(wanted ^ set(values)):
        what = "needs the variable" if name in wanted else "has no variable"
        text, param = f"The prompt '{asked.id}' {what} '{name[:80]}'.", f"prompt.variables.{name[:80]}"
        raise BadRequest(text, param=param, code="invalid_prompt_variables")
    begin = [_turn("developer", version.instructions, values)] if version.instructions else []
    turns = [_turn(one.role, one.content, values) for one in version.messages]
    authors = [version.instructions, *(one.content for one in version.messages if one.role in _AUTHORS)]
    holes = {name for text in authors for name in _HOLE.findall(text)}
    foreign = tuple(text for name in sorted(holes) for text in texts_of([values[name]]) if text)
    return Rendered(begin, turns, prompt.model, foreign)


class _Holder(Struct, frozen=True):
    prompt: _Asked


def _turn(role: str, text: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A turn of text; a hole that is a whole turn may be filled by an image or a file."""
    whole = _HOLE.fullmatch(text.strip())
    if whole is not None and isinstance(values[whole.group(1)], dict):
        return {"type": "message", "role": role, "content": [values[whole.group(1)]]}
    return {"type": "message", "role": role, "content": _HOLE.sub(lambda hole: _text(hole.group(1), values), text)}


def _text(name: str, values: Mapping[str, Any]) -> str:
    value = values[name]
    if isinstance(value, dict) and value.get("type") == "input_text":
        value = value.get("text")
    if not isinstance(value, str) or len(value) > _MOST:
        raise BadRequest(
            f"'{name}' stands inside a text and must be one, of at most {_MOST:,} characters.",
            param=f"prompt.variables.{name}", code="invalid_prompt_variables",
        )  # fmt: skip
    return value
