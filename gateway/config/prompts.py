"""Prompt templates: ``{{name}}`` in a text is filled by the variables of the request that names the template."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from gateway.config.values import Name, Node


class PromptTurn(Node, frozen=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Meta(min_length=1)]


class PromptVersion(Node, frozen=True):
    """``instructions`` stand before a conversation, ``messages`` between what was said and the request's own input."""

    instructions: str = ""
    messages: list[PromptTurn] = []


class Prompt(Node, frozen=True):
    """``model`` answers when the request names none; ``current`` is the version for requests that name none."""

    versions: dict[Name, PromptVersion]
    current: Name
    model: str = ""
