"""Azure's way to OpenAI's API, for clients that were written for it: a deployment is the name of a model here.

They write the deployment into the path where a model is asked, and it counts more than a model in the body; what
has no deployment has OpenAI's own path behind another root; the API's version in the query says nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode

from litestar import Request, post
from litestar.params import FromPath
from litestar.types import ASGIApp

from gateway import errors
from gateway.api.chat import ChatDialect
from gateway.api.completions import CompletionsDialect
from gateway.api.embeddings import Embeddings
from gateway.api.http import Authenticator, headers_of
from gateway.api.ingress import Dialect, Ingress, Rendering
from gateway.api.passthrough import PATHS as PASSED_ON
from gateway.api.passthrough import PassThrough
from gateway.api.surface import JsonEndpoint, Wanted
from gateway.context import Principal
from gateway.live import Live
from gateway.pipeline import Handler
from gateway.storage.files import FileStore
from gateway.surface import Surface

ROOT = "/openai/"
DEPLOYMENTS = "/openai/deployments/"
_CHAT, _COMPLETIONS, _EMBEDDINGS = "/chat/completions", "/completions", "/embeddings"
_ASKED = (_CHAT, _COMPLETIONS, _EMBEDDINGS, *PASSED_ON)
"""What is asked of a deployment; the first that a path ends with is meant."""


def at_openai(scope: Mapping[str, Any]) -> dict[str, Any]:
    """The same request under OpenAI's own path, where Azure's names no deployment in it; in a query it is the model."""
    path = "/v1/" + scope["path"].removeprefix(ROOT).removeprefix("v1/")
    query = parse_qs(scope["query_string"].decode("latin-1"))
    if "deployment" in query and "model" not in query:
        query["model"] = query.pop("deployment")
    told = urlencode(query, doseq=True).encode()
    return {**scope, "path": path, "raw_path": path.encode(), "query_string": told}


class _Deployed:
    """A dialect whose model is in the path."""

    def __init__(self, dialect: Dialect, model: str) -> None:
        self._dialect, self._model = dialect, model
        self.endpoint, self.prefix = dialect.endpoint, dialect.prefix
        self.error, self.headers = dialect.error, dialect.headers

    async def read(
        self, headers: Mapping[str, str], data: dict[str, Any], principal: Principal | None = None
    ) -> Rendering:
        return await self._dialect.read(headers, {**data, "model": self._model}, principal)


class _DeployedEmbeddings(Embeddings):
    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model

    def read(self, data: dict[str, Any], live: Live) -> Wanted:
        return super().read({**data, "model": self._model}, live)


def azure_routes(pipeline: Handler, live: Live, surface: Surface, store: FileStore, who: Authenticator) -> list[Any]:
    """``who``: whose key a request carries."""

    def endpoint(model: str, path: str) -> ASGIApp:
        if path == _CHAT:
            return Ingress(pipeline, live, _Deployed(ChatDialect(), model), model)
        if path == _COMPLETIONS:
            return Ingress(pipeline, live, _Deployed(CompletionsDialect(), model), model)
        if path == _EMBEDDINGS:
            return JsonEndpoint(surface, live, _DeployedEmbeddings(model))
        return PassThrough(surface, live, store, who, path, model)

    @post(f"{DEPLOYMENTS}{{path:path}}", status_code=200)
    async def ask_deployment(request: Request[Any, Any, Any], path: FromPath[str]) -> ASGIApp:
        asked = next((one for one in _ASKED if path.endswith(one)), "")
        model = path.removesuffix(asked).removeprefix("/")
        if not asked or not model:
            who(headers_of(request.scope))  # what is served here is told to those who may ask
            served = ", ".join(one.removeprefix("/") for one in _ASKED)
            message = f"Unknown request URL. {DEPLOYMENTS}<deployment>/ is followed by one of: {served}."
            raise errors.NotFound(message, code="unknown_url")
        return endpoint(model, asked)

    return [ask_deployment]
