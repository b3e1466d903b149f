"""Assign: which task a call belongs to, what it looks like, and whether a student may answer it at all."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

from msgspec import structs

from gateway import errors
from gateway.config import CandidateRef, Defaults, Match, Surface, Task
from gateway.context import Answer, Exchange
from gateway.pipeline import Handler
from gateway.protocol.chat import ChatRequest, text_of
from gateway.protocol.fingerprint import fingerprint
from gateway.providers import ClassifierProvider
from gateway.routing.named import TUNED, candidates_of
from gateway.runtime import Runtime, own_student, student_provider
from optimizer.routing.eligibility import ineligible
from optimizer.routing.plan import Candidate

FORCE = "x-understudy-force"
TEACHER = "teacher"
"""The one value that the header has: no student answers."""


class Assign:
    def __call__(self, exchange: Exchange, inner: Handler) -> Awaitable[Answer]:
        assign(exchange)
        return inner(exchange)


def assign(exchange: Exchange) -> None:
    """Fills task or target, fingerprint and ineligibility. Raises NotFound for a model nobody serves."""
    runtime, request = exchange.runtime, exchange.request
    task, exchange.fingerprint = task_of(runtime, request)
    if task is None:
        exchange.target = resolve(
            runtime, request.model, exchange.principal.project if exchange.principal else ""
        )
        return
    exchange.task = task
    if task.defaults is not None:
        _fill(exchange, task.defaults)
    if task.learn is None:
        return
    exchange.fingerprint = exchange.fingerprint or fingerprint(request)
    exchange.ineligible = ineligible(exchange.body) or (
        "the client asked for the teacher" if exchange.headers.get(FORCE) == TEACHER else ""
    )


def check_force(headers: Mapping[str, str]) -> None:
    """Raises BadRequest for a value that is none: whoever misspelt it would be answered by the student that the
    header is there to keep away."""
    asked = headers.get(FORCE, TEACHER)
    if asked != TEACHER:
        raise errors.BadRequest(
            f"The header {FORCE} has the one value '{TEACHER}', which keeps students away from this request; "
            f"it says {asked[:40]!a}. Send '{FORCE}: {TEACHER}', or leave the header out.",
            param=FORCE,
            code="invalid_value",
        )


def task_of(runtime: Runtime, request: ChatRequest) -> tuple[Task | None, str]:
    """The task a request belongs to, by name or by its match; the fingerprint when that had to be taken."""
    name = runtime.aliases.get(request.model, request.model)
    task = runtime.tasks.get(name)
    if task is not None or request.model not in runtime.matches:
        return task, ""
    shape = fingerprint(request)
    return _matching(runtime.matches[request.model], request, shape), shape


def may_answer(runtime: Runtime, task: Task | None, model: str, project: str) -> Sequence[Candidate]:
    """Everybody who may answer a call of a task, or of none. Raises as :func:`resolve`."""
    return candidates_of(task, runtime.policies) if task is not None else (resolve(runtime, model, project),)


def named(exchange: Exchange) -> Candidate:
    """The candidate that a client names where no task answers; of what is not chat also a model that nobody knows, at
    the surface's own provider. Raises as :func:`resolve`."""
    runtime, model = exchange.runtime, exchange.request.model
    own = default_provider(runtime.config.surface, exchange.endpoint)
    project = exchange.principal.project if exchange.principal else ""
    try:
        return resolve(runtime, model, project, catalogued=not own)
    except errors.NotFound:
        if own and "/" not in model:
            return Candidate(provider=own, model=model)
        raise


def default_provider(settings: Surface, endpoint: str) -> str:
    """The provider that the section ``surface`` names for an endpoint; "" when it names none."""
    if endpoint == "moderations":
        return settings.moderations.provider if isinstance(settings.moderations, CandidateRef) else ""
    return str(getattr(settings, endpoint, None) or "")


LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
"""Two names for one bound: who says one says both."""


def _fill(exchange: Exchange, defaults: Defaults) -> None:
    """Sets what the client said nothing about, in the body that is sent on and in its typed view."""
    body = exchange.body
    limited = any(body.get(name) is not None for name in LIMITS)
    missing = {
        name: value
        for name in defaults.__struct_fields__
        if (value := getattr(defaults, name)) is not None
        and body.get(name) is None
        and not (limited and name in LIMITS)
    }
    if missing:
        exchange.body = {**body, **missing}
        exchange.filled = frozenset(missing)
        typed = {name: value for name, value in missing.items() if name in ChatRequest.__struct_fields__}
        exchange.request = structs.replace(exchange.request, **typed)


def _matching(tasks: tuple[Task, ...], request: ChatRequest, shape: str) -> Task | None:
    for task in tasks:
        if any(_matches(match, request, shape) for match in task.match):
            return task
    return None


def _matches(match: Match, request: ChatRequest, shape: str) -> bool:
    if match.model != request.model or (match.fingerprint is not None and match.fingerprint != shape):
        return False
    if match.system_prefix is None:
        return True
    first = request.messages[0]
    return first.role in ("system", "developer") and text_of(first).startswith(match.system_prefix)


def resolve(runtime: Runtime, model: str, project: str, *, catalogued: bool = True) -> Candidate:
    """A candidate named directly: ``provider/model``, or a bare model that exactly one provider serves, by the policies
    or else by the catalog (``catalogued``); or an alias of either. Raises NotFound or BadRequest."""
    model = runtime.aliases.get(model, model)
    if model.startswith(TUNED) and own_student(runtime, project, model):
        return Candidate(provider=student_provider(runtime), model=model)
    provider, slash, rest = model.partition("/")
    settings = runtime.config.providers.get(provider) if slash else None
    if settings is not None and rest:
        candidate = Candidate(provider=provider, model=rest)
        if not isinstance(settings, ClassifierProvider) or own_student(runtime, project, rest):
            return candidate
        raise unknown_model(model)
    found = runtime.models.get(model) or (runtime.catalogued.get(model, ()) if catalogued else ())
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(candidate.name for candidate in found)
        raise errors.BadRequest(
            f"The model '{model}' is served by more than one provider. Name one of: {names}.",
            param="model",
            code="ambiguous_model",
        )
    raise unknown_model(model)


def unknown_model(model: str) -> errors.NotFound:
    return errors.NotFound(
        f"The model '{model[:100]}' does not exist or you do not have access to it. "
        "GET /v1/models lists what there is; other models of a provider are called as 'provider/model'.",
        param="model",
        code="model_not_found",
    )
