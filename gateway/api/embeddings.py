"""POST /v1/embeddings."""

from __future__ import annotations

from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp

from gateway.api.surface import JsonEndpoint, Wanted
from gateway.errors import BadRequest
from gateway.live import Live
from gateway.protocol.embeddings import check_request, encode_as, texts_in
from gateway.providers.codec import AttemptFailed


class Embeddings:
    """Vectors reach the client in the encoding it asked for, whichever its provider speaks; a provider that
    refuses ``encoding_format`` is not sent it again."""

    endpoint, path = "embeddings", "/embeddings"

    def __init__(self) -> None:
        self._numbers_only: set[str] = set()

    def read(self, data: dict[str, Any], live: Live) -> Wanted:
        asked = check_request(data)
        return Wanted(
            body=data,
            model=model_in(data),
            text=texts_in(data["input"]),
            tell=lambda answer: encode_as(answer, asked),
            shown=model_in(data),
        )

    def fit(self, provider: str, body: dict[str, Any]) -> dict[str, Any]:
        return _without_encoding(body) if provider in self._numbers_only else body

    def again(self, provider: str, body: dict[str, Any], error: AttemptFailed) -> dict[str, Any] | None:
        about_it = error.error.param == "encoding_format" or "encoding_format" in error.error.message
        if error.failure.kind != "refused" or not about_it or "encoding_format" not in body:
            return None
        self._numbers_only.add(provider)
        return _without_encoding(body)


def _without_encoding(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "encoding_format"}


def model_in(data: dict[str, Any]) -> str:
    """Raises BadRequest."""
    model = data.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= 256:
        raise BadRequest(
            "Missing required parameter: 'model'.", param="model", code="missing_required_parameter"
        )
    return model


def embedding_routes(endpoint: JsonEndpoint) -> list[Any]:
    @post("/v1/embeddings", status_code=200)
    async def create_embedding(request: Request[Any, Any, Any]) -> ASGIApp:
        return endpoint

    return [create_embedding]
