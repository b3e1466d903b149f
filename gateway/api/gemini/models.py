"""Models as Gemini's API lists them, and where its clients put their key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from litestar.types import Scope

from gateway.errors import BadRequest, NotFound
from gateway.providers import ClassifierProvider
from gateway.routing.abilities import listed_uses
from gateway.routing.named import TUNED, candidates_of
from gateway.runtime import Runtime, student_provider
from optimizer.routing.plan import Candidate

_CHAT = ("generateContent", "streamGenerateContent", "countTokens")
_EMBEDDING = ("embedContent", "batchEmbedContents")
METHODS = (*_CHAT, *_EMBEDDING)
_BY_USE: Mapping[str, tuple[str, ...]] = {"chat": _CHAT, "embeddings": _EMBEDDING, "": METHODS}
"""By what a model is asked for; "" where nobody knows. Pictures, transcriptions and sessions are had by other APIs."""
_PAGE, _LARGEST_PAGE = 50, 1000
_NUMBER = re.compile(r"[0-9]{0,10}\Z")
"""One of thousands of digits is none that Python reads."""


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


def page_of(runtime: Runtime, names: list[str], query: dict[str, str]) -> dict[str, Any]:
    """One page of models; a token is the place where the next one begins. Raises BadRequest."""
    size, token = query.get("pageSize", ""), query.get("pageToken", "")
    if not all(_NUMBER.match(value) for value in (size, token)):
        raise BadRequest("'pageSize' must be a number and 'pageToken' one that was given out here.")
    most, start = min(int(size or 0) or _PAGE, _LARGEST_PAGE), int(token or 0)
    page: dict[str, Any] = {"models": [_shown(runtime, name) for name in names[start : start + most]]}
    return page | ({"nextPageToken": str(start + most)} if start + most < len(names) else {})


def model_of(runtime: Runtime, names: list[str], wanted: str) -> dict[str, Any]:
    """Raises NotFound."""
    if wanted not in names:
        raise NotFound(f"The model `{wanted[:200]}` does not exist.", code="model_not_found")
    return _shown(runtime, wanted)


def _shown(runtime: Runtime, name: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "supportedGenerationMethods": [*_methods(runtime, name)],
    }


def _methods(runtime: Runtime, name: str) -> Iterable[str]:
    """What any of those who may answer is there for."""
    found = {method for one in _answering(runtime, name) for method in _BY_USE.get(_use(runtime, one), ())}
    return (method for method in METHODS if method in found)


def _answering(runtime: Runtime, name: str) -> Iterable[Candidate]:
    target = runtime.aliases.get(name, name)
    if target in runtime.tasks:
        return candidates_of(runtime.tasks[target], runtime.policies)
    if target.startswith(TUNED):
        return (Candidate(student_provider(runtime), target),)
    provider, _, model = target.partition("/")
    if provider in runtime.config.providers:
        return (Candidate(provider, model),)
    return runtime.models.get(target) or runtime.catalogued.get(target, ())


def _use(runtime: Runtime, candidate: Candidate) -> str:
    settings = runtime.config.providers.get(candidate.provider)
    if settings is None or isinstance(settings, ClassifierProvider):
        return "chat"
    return listed_uses(settings.profile).get(candidate.model, "")
