"""Models as Gemini's API lists them, and where its clients put their key."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from litestar.types import Scope

from gateway.errors import BadRequest, NotFound

METHODS = ["generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"]
_PAGE, _LARGEST_PAGE = 50, 1000


def from_google(scope: Scope) -> bool:
    """Whether a Gemini client asks: OpenAI's list of models has the same address under /v1."""
    names = {name for name, _ in scope["headers"]}
    return scope["path"].startswith("/v1beta/") or b"x-goog-api-key" in names or "key" in query_of(scope)


def keyed(scope: Scope) -> Scope:
    """The request with a key from its query as a header, and without the query. A header's key comes first."""
    key = query_of(scope).get("key", "")
    names = {name for name, _ in scope["headers"]}
    more = [] if not key or b"x-goog-api-key" in names else [(b"x-goog-api-key", key.encode())]
    return {**scope, "headers": [*scope["headers"], *more], "query_string": b""}  # type: ignore[return-value]


def query_of(scope: Scope) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}


def page_of(names: list[str], query: dict[str, str]) -> dict[str, Any]:
    """One page of models; a token is the place where the next one begins. Raises BadRequest."""
    size, token = query.get("pageSize", ""), query.get("pageToken", "")
    if not all(value.isascii() and (value.isdigit() or not value) for value in (size, token)):
        raise BadRequest("'pageSize' must be a number and 'pageToken' one that was given out here.")
    most, start = min(int(size or 0) or _PAGE, _LARGEST_PAGE), int(token or 0)
    page: dict[str, Any] = {"models": [_shown(name) for name in names[start : start + most]]}
    return page | ({"nextPageToken": str(start + most)} if start + most < len(names) else {})


def model_of(names: list[str], wanted: str) -> dict[str, Any]:
    """Raises NotFound."""
    if wanted not in names:
        raise NotFound(f"The model `{wanted[:200]}` does not exist.", code="model_not_found")
    return _shown(wanted)


def _shown(name: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "supportedGenerationMethods": METHODS,
    }
