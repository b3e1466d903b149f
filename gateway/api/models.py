"""GET /v1/models: what the key may call, in OpenAI's shape or, for its clients, in Google's."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from gateway.access.refusals import address_of
from gateway.api.gemini.generate import told_error
from gateway.api.gemini.models import from_google, keyed, model_of, page_of, query_of
from gateway.api.http import Authenticator, headers_of
from gateway.api.ingress import encode
from gateway.context import Principal
from gateway.errors import GatewayError, note_detail
from gateway.live import Live
from gateway.runtime import TUNED, Runtime, candidates_of
from gateway.stages.assign import unknown_model

Client = Request[Any, Any, Any]
_SINCE = 1_735_689_600  # a fixed date: models have no birthday here, and clients only sort by it


def model_list(runtime: Runtime, principal: Principal) -> list[dict[str, Any]]:
    """Tasks first, then what can be named directly, aliases, and the project's fine-tuned models, in OpenAI's shape."""
    found: dict[str, str] = {task.name: "understudy" for task in runtime.config.tasks}
    for task in runtime.config.tasks:
        for candidate in candidates_of(task, runtime.policies):
            found.setdefault(candidate.name, candidate.provider)
    for alias in runtime.aliases:
        found.setdefault(alias, "understudy")
    tuned = [
        one.id
        for one in runtime.snapshot.students
        if one.project == principal.project and one.id.startswith(TUNED)
    ]
    found.update(dict.fromkeys(tuned, principal.project))
    return [
        {"id": name, "object": "model", "created": _SINCE, "owned_by": owner}
        for name, owner in found.items()
        if not principal.models or name in principal.models
    ]


def model_routes(live: Live, authenticate: Authenticator) -> list[Any]:
    def google(request: Client, find: Callable[[list[str]], dict[str, Any]]) -> Response[bytes]:
        """The answer to a Gemini client."""
        request_id = "req_" + secrets.token_hex(16)
        headers, status = {"x-request-id": request_id}, 200
        try:
            principal = authenticate(headers_of(keyed(request.scope)))
            body = encode(find([one["id"] for one in model_list(live.runtime(), principal)]))
        except GatewayError as error:
            note_detail(error, request_id)
            if error.refused is not None:
                live.refusals.note(error.refused, address_of(request.scope))
            status, body = told_error(error, request_id)
            headers |= error.headers
        return Response(body, status_code=status, headers=headers, media_type="application/json")

    @get(["/v1/models", "/v1beta/models"])
    async def list_models(request: Client) -> Any:
        if from_google(request.scope):
            return google(request, lambda names: page_of(names, query_of(request.scope)))
        principal = authenticate(request.headers)
        return {"object": "list", "data": model_list(live.runtime(), principal)}

    @get(["/v1/models/{model:path}", "/v1beta/models/{model:path}"])
    async def get_model(request: Client, model: FromPath[str]) -> Any:
        wanted = model.removeprefix("/")
        if from_google(request.scope):
            return google(request, lambda names: model_of(names, wanted))
        principal = authenticate(request.headers)
        for entry in model_list(live.runtime(), principal):
            if entry["id"] == wanted:
                return entry
        raise unknown_model(wanted)

    return [list_models, get_model]
