"""Whom guardrails may ask when a text takes more than a look: models in their own process, providers, webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class NoAnswer(Exception):
    """Who was asked cannot be reached, refused, or said what cannot be read; the text says which, for the log."""


class Helpers(Protocol):
    """What a guardrail's ``ask`` is handed. Time and number of questions are bounded by the caller. Each raises
    NoAnswer."""

    async def model(self, question: Mapping[str, Any]) -> Any:
        """What the process of the guard models answers to a JSON object."""

    async def chat(self, provider: str, model: str, body: Mapping[str, Any]) -> str:
        """The text of a provider's answer to a chat request."""

    async def post(self, provider: str, model: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A provider's answer to a request to ``path`` of OpenAI's API."""

    async def webhook(self, url: str, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a webhook answers to a signed message."""
