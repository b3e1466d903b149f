"""GET /v1/models: what the key may call, in OpenAI's shape or, for their clients, in Google's or Anthropic's."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from gateway.access.refusals import address_of
from gateway.api.anthropic import models as anthropic_models
from gateway.api.anthropic.models import from_anthropic
from gateway.api.anthropic.models import told_error as claude_error
from gateway.api.gemini.generate import told_error as gemini_error
from gateway.api.gemini.models import from_google, keyed, model_of, page_of, query_of
from gateway.api.http import Authenticator, headers_of
from gateway.api.ingress import encode
from gateway.context import Principal
from gateway.errors import GatewayError, note_detail
from gateway.live import Live
from gateway.routing.named import TUNED, candidates_of
from gateway.runtime import Runtime
from gateway.stages.assign import resolve, unknown_model

Client = Request[Any, Any, Any]
Find = Callable[[Runtime, Principal], dict[str, Any]]
ToldError = Callable[[GatewayError, str], tuple[int, bytes]]
_SINCE = 1_735_689_600  # a fixed date: models have no birthday here, and clients only sort by it


class Listing:
    """What there is to list. All of it but a project's own models is put together once for a runtime."""

    def __init__(self) -> None:
        self._runtime: Runtime | None = None
        self._own: dict[str, dict[str, Any]] = {}
        self._catalogued: dict[str, dict[str, Any]] = {}

    def of(self, runtime: Runtime, principal: Principal) -> dict[str, dict[str, Any]]:
        """By name, in OpenAI's shape: tasks first, then what the policies let be named directly, aliases, the project's
        fine-tuned models, and last the names that the catalog adds."""
        if runtime is not self._runtime:
            self._own, self._catalogued = _entries(_own_names(runtime)), _entries(_catalogued_names(runtime))
            self._runtime = runtime
        tuned = {
            one.id: principal.project
            for one in runtime.snapshot.students
            if one.project == principal.project and one.id.startswith(TUNED)
        }
        found = self._own | _entries(tuned)
        found |= {name: entry for name, entry in self._catalogued.items() if name not in found}
        if not principal.models:
            return found
        return {name: entry for name, entry in found.items() if name in principal.models}

    def one(self, runtime: Runtime, principal: Principal, wanted: str) -> dict[str, Any]:
        """A model that is listed, or that this key may call all the same (``provider/model``): clients ask for it by
        its name before they call it. Raises NotFound."""
        listed = self.of(runtime, principal)
        if wanted in listed:
            return listed[wanted]
        if "/" not in wanted or (principal.models and wanted not in principal.models):
            raise unknown_model(wanted)
        return _entries({wanted: resolve(runtime, wanted, principal.project).provider})[wanted]


def _entries(owners: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    return {
        name: {"id": name, "object": "model", "created": _SINCE, "owned_by": owner} for name, owner in owners.items()
    }


def _own_names(runtime: Runtime) -> dict[str, str]:
    found: dict[str, str] = {task.name: "understudy" for task in runtime.config.tasks}
    for task in runtime.config.tasks:
        for candidate in candidates_of(task, runtime.policies):
            found.setdefault(candidate.name, candidate.provider)
    for alias in runtime.aliases:
        found.setdefault(alias, "understudy")
    return found


def _catalogued_names(runtime: Runtime) -> dict[str, str]:
    """The catalog's names that lead to one provider, and to which; as ``stages.assign.resolve`` takes them."""
    found: dict[str, str] = {}
    for model, candidates in runtime.catalogued.items():
        served = runtime.models.get(model) or candidates
        provider, slash, _ = model.partition("/")
        if len(served) == 1 and not (slash and provider in runtime.config.providers):
            found[model] = served[0].provider
    return found


def model_routes(live: Live, authenticate: Authenticator) -> list[Any]:
    listing = Listing()

    def foreign(request: Client, find: Find, told_error: ToldError) -> Response[bytes]:
        """The answer to another vendor's client, a refusal in its words too."""
        request_id = "req_" + secrets.token_hex(16)
        headers, status = {"x-request-id": request_id, "request-id": request_id}, 200
        try:
            principal = authenticate(headers_of(keyed(request.scope)))
            runtime = live.runtime()
            body = encode(find(runtime, principal))
        except GatewayError as error:
            note_detail(error, request_id)
            if error.refused is not None:
                live.refusals.note(error.refused, address_of(request.scope))
            status, body = told_error(error, request_id)
            headers |= error.headers
        return Response(body, status_code=status, headers=headers, media_type="application/json")

    @get(["/v1/models", "/v1beta/models"])
    async def list_models(request: Client) -> Any:
        query = query_of(request.scope)
        if from_google(request.scope):
            return foreign(request, lambda at, who: page_of(at, list(listing.of(at, who)), query), gemini_error)
        if from_anthropic(request.scope):
            return foreign(
                request, lambda at, who: anthropic_models.page_of([*listing.of(at, who).values()], query), claude_error
            )
        principal = authenticate(request.headers)
        return {"object": "list", "data": list(listing.of(live.runtime(), principal).values())}

    @get(["/v1/models/{model:path}", "/v1beta/models/{model:path}"])
    async def get_model(request: Client, model: FromPath[str]) -> Any:
        wanted = model.removeprefix("/")
        if from_google(request.scope):
            return foreign(request, lambda at, who: model_of(at, list(listing.of(at, who)), wanted), gemini_error)
        if from_anthropic(request.scope):
            return foreign(
                request, lambda at, who: anthropic_models.shown_as(listing.one(at, who, wanted)), claude_error
            )
        principal = authenticate(request.headers)
        return listing.one(live.runtime(), principal, wanted)

    return [list_models, get_model]
