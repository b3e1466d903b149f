"""Where Azure OpenAI is asked: under its v1 addresses, which need no version, or under older ones with a dated version.

https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
"""

from __future__ import annotations

import re
from urllib.parse import quote

from gateway import errors
from gateway.providers.codec import failed

OF_V1 = frozenset({"", "v1", "preview"})
"""What the v1 API calls its versions; it needs none."""
FIRST_RESPONSES = "2025-03-01-preview"
"""The first dated version that has the Responses API."""
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}(?:-preview)?\Z")
_DEPLOYMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


def has_responses(version: str) -> bool:
    return version in OF_V1 or (_DATED.match(version) is not None and version[:10] >= FIRST_RESPONSES[:10])


def chat(base: str, version: str, model: str) -> str:
    """Where a deployment answers chat under a dated version. Raises AttemptFailed for a name that is none."""
    if not _DEPLOYMENT.match(model):  # it may come from the client and must not leave its place in the path
        error = errors.BadRequest("This is not a deployment's name.", param="model", code="model_not_found")
        raise failed("refused", error)
    return f"{base}/deployments/{model}/chat/completions{query(version)}"


def responses(base: str, version: str) -> str:
    """Where responses are made; the deployment stands in the body."""
    return f"{base}{'/v1' if version in OF_V1 else ''}/responses{query(version)}"


def query(version: str) -> str:
    return f"?api-version={quote(version, safe='')}" if version else ""
