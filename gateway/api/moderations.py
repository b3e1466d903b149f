"""POST /v1/moderations, served by whom the policies name."""

from __future__ import annotations

from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp

from gateway.api.embeddings import model_in
from gateway.api.moderations_local import MODEL, answer_locally
from gateway.api.surface import JsonEndpoint, Wanted
from gateway.config import CandidateRef
from gateway.errors import BadRequest, Unavailable
from gateway.live import Live
from gateway.providers.codec import AttemptFailed
from gateway.texts.masking import texts_of


class Moderations:
    endpoint, path = "moderations", "/moderations"

    def read(self, data: dict[str, Any], live: Live) -> Wanted:
        given = data.get("input")
        if not isinstance(given, str | list) or not given:
            raise BadRequest(
                "'input' must be a text, a list of texts, or a list of typed parts, and not empty.",
                param="input",
            )
        shown = data.get("model") or ""
        data = {name: value for name, value in data.items() if not (name == "model" and value is None)}
        text = "\n".join(texts_of({"input": given}))
        if _local(live) and not ("model" in data and _known(live, model_in(data))):
            model = model_in(data) if "model" in data else MODEL
            return Wanted(body=data, model=model, text=text, tell=_check, here=answer_locally)
        if "model" not in data:
            data["model"] = _configured(live)
        elif not _known(live, model_in(data)):
            _configured(live)
        return Wanted(body=data, model=model_in(data), text=text, tell=_check, shown=str(shown))

    def fit(self, provider: str, body: dict[str, Any]) -> dict[str, Any]:
        return body

    def again(self, provider: str, body: dict[str, Any], error: AttemptFailed) -> dict[str, Any] | None:
        return None


def _local(live: Live) -> bool:
    return live.runtime().config.surface.moderations == "local"


def _known(live: Live, model: str) -> bool:
    runtime = live.runtime()
    provider = model.partition("/")[0] if "/" in model else ""
    return model in runtime.tasks or model in runtime.models or provider in runtime.config.providers


def _configured(live: Live) -> str:
    """The model the policies name for moderation. Raises Unavailable when they name none."""
    settings = live.runtime().config.surface.moderations
    if not isinstance(settings, CandidateRef):
        raise Unavailable(
            "No provider is configured for moderations. The gateway's operator can name one in the policies: "
            "'surface: {moderations: {provider: ..., model: ...}}', or have the guardrails answer: "
            "'moderations: local'.",
            code="moderations_not_configured",
            headers={"x-should-retry": "false"},
        )
    return f"{settings.provider}/{settings.model}"


def _check(answer: dict[str, Any]) -> None:
    if not isinstance(answer.get("results"), list):
        raise ValueError("an answer without results")  # noqa: TRY004 - the provider's junk, not a bug


def moderation_routes(endpoint: JsonEndpoint) -> list[Any]:
    @post("/v1/moderations", status_code=200)
    async def create_moderation(request: Request[Any, Any, Any]) -> ASGIApp:
        return endpoint

    return [create_moderation]
