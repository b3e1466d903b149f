"""GET /v1/models: what the key may call."""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.params import FromPath

from gateway.api.http import Authenticator
from gateway.context import Principal
from gateway.live import Live
from gateway.runtime import Runtime, candidates_of
from gateway.stages.assign import unknown_model

_SINCE = 1_735_689_600  # a fixed date: models have no birthday here, and clients only sort by it


def model_list(runtime: Runtime, principal: Principal) -> list[dict[str, Any]]:
    """Tasks first, then what can be named directly, then aliases, in OpenAI's shape."""
    found: dict[str, str] = {task.name: "understudy" for task in runtime.config.tasks}
    for task in runtime.config.tasks:
        for candidate in candidates_of(task, runtime.policies):
            found.setdefault(candidate.name, candidate.provider)
    for alias in runtime.aliases:
        found.setdefault(alias, "understudy")
    return [
        {"id": name, "object": "model", "created": _SINCE, "owned_by": owner}
        for name, owner in found.items()
        if not principal.models or name in principal.models
    ]


def model_routes(live: Live, authenticate: Authenticator) -> list[Any]:
    @get("/v1/models")
    async def list_models(request: Request[Any, Any, Any]) -> dict[str, Any]:
        principal = authenticate(request.headers)
        return {"object": "list", "data": model_list(live.runtime(), principal)}

    @get("/v1/models/{model:path}")
    async def get_model(request: Request[Any, Any, Any], model: FromPath[str]) -> dict[str, Any]:
        principal = authenticate(request.headers)
        wanted = model.removeprefix("/")
        for entry in model_list(live.runtime(), principal):
            if entry["id"] == wanted:
                return entry
        raise unknown_model(wanted)

    return [list_models, get_model]
