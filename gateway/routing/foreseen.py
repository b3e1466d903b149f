"""What becomes of a plan before anybody is asked: who rests after failures, and whose provider cannot take the request.
By the code that asks, which is why ``explain`` can say so."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.context import Exchange
from gateway.errors import GatewayError
from gateway.providers.codec import AttemptFailed, DocumentRefused
from gateway.providers.vertex.google_account import TokenNeeded
from gateway.resilience.breakers import Breakers
from gateway.resilience.gate import providers_failing
from gateway.retrieval.documents import missing
from gateway.runtime import asks_for
from gateway.stages.dispatch import classed, fallback_rules, final
from gateway.stages.parameters import parameters_for
from gateway.stages.several import bodies
from gateway.stages.structure import Structure
from gateway.upstreams.asking import spoken_to
from optimizer.routing.plan import Rung

_RESTS = "it rests after failures, or because others do better."


def foreseen(
    exchange: Exchange, rungs: Sequence[Rung], breakers: Breakers | None
) -> tuple[dict[Rung, str], GatewayError | None]:
    """Why a rung is passed over, for each that is; what the client is told when that leaves nobody. Changes nothing."""
    others = [rung for rung in rungs if rung.role != "student"]
    if rungs[0].student is not None:
        return {}, None  # it may answer, and only it can say whether it will
    usable = list(breakers.usable(others)) if breakers is not None else others
    passed = {rung: _RESTS for rung in others if rung not in usable}
    chosen, _ = fallback_rules(exchange)
    structure, problems = Structure(), list[AttemptFailed]()
    for position, rung in enumerate(usable):
        problem = _refusal(exchange, rung, structure)
        if problem is None:
            return passed, None
        passed[rung] = problem.error.message
        problems.append(problem)
        if position + 1 < len(usable) and problem.failure.kind not in chosen:
            break
    if problems:
        return passed, final(problems)
    return passed, providers_failing(breakers.wait(others)) if breakers is not None else None


def _refusal(exchange: Exchange, rung: Rung, structure: Structure) -> AttemptFailed | None:
    """What the rung's provider is not even asked."""
    runtime, candidate = exchange.runtime, rung.candidate
    alone = asks_for(runtime, candidate, exchange.request.n) > 1
    said = bodies(exchange.body, 1)[0] if alone else exchange.body
    try:
        body = structure.body(exchange, rung, parameters_for(exchange, candidate, said))
        body = spoken_to(runtime, candidate, body, exchange.has_custom_tools)
        runtime.codecs[candidate.provider].encode(body, candidate.model, stream=exchange.request.streamed)
    except DocumentRefused as problem:
        return classed(problem) if missing() else None  # its text goes in its place, if it can be read
    except AttemptFailed as problem:
        return classed(problem)
    except TokenNeeded:
        return None
    return None
