"""Past calls under another policy: its probabilities for each of them, by the very code that routes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from msgspec import Struct, structs

from gateway.config import Config
from gateway.money.pricing import cost
from gateway.protocol.chat import Usage
from gateway.routing.observations import Observations
from gateway.routing.ways import TaskWays, Way, ways_of
from gateway.storage.values import PastCall
from optimizer.bandits import Outcome, Reward, reward
from optimizer.replay import Logged, Replayed, replay, shares
from optimizer.routing.choose import Situation, decide
from optimizer.routing.facts import Facts, Needs, View
from optimizer.routing.objective import ranked
from optimizer.routing.plan import Candidate
from optimizer.routing.rules import Caller, mismatch
from optimizer.routing.scene import Scene
from optimizer.routing.strategies import Bandit


class CannotReplay(Exception):
    """The policy, or the past, is not one that can be replayed. The message is for people."""


class Measured(Struct, frozen=True):
    """One quantity under the other policy; ``unit`` is dollars, ms or a share of calls."""

    what: str
    unit: str
    result: Replayed


def replayed(
    config: Config, task: str, calls: Sequence[PastCall], *, policy: str = "", terms: Reward | None = None
) -> list[Measured]:
    """What ``calls`` would have cost and brought under ``config``'s policy for ``task``, or under ``policy``.

    Success is an answer without an error, whoever gave it in the end; cost leaves out calls of unknown price.
    Raises CannotReplay.
    """
    ways = _ways(config, task, policy)
    if not calls:
        raise CannotReplay(
            f"no call of '{task}' with a logged draw was found. Calls are recorded by `understudy up`; a policy "
            "that draws (weighted, least_latency, bandit) makes them tell something about others."
        )
    targets = _targets(config, ways, calls)
    terms = terms or Reward()
    found = [
        ("success", "share", lambda call: float(call.status == "ok")),
        ("latency", "ms", lambda call: call.latency_ms),
        ("cost", "usd", lambda call: call.cost_usd),
        ("reward", "share", lambda call: reward(_outcome(call), terms)),
    ]  # type: list[tuple[str, str, Callable[[PastCall], float | None]]]
    return [
        Measured(what, unit, replay(rows))
        for what, unit, value in found
        if (rows := _logged(calls, targets, value))
    ]


def worth_of(config: Config, task: str, calls: Sequence[PastCall]) -> dict[str, list[tuple[float, bool]]]:
    """For each candidate that was drawn at random, its calls in order as (worth, succeeded). What a call is worth
    says the reward of the task's bandit; without one, the usual one. Raises CannotReplay."""
    if task not in {one.name for one in config.tasks}:
        raise CannotReplay(f"the policies know no task '{task}'.")
    ways = ways_of(config, {one.name: one for one in config.policies})[task]
    strategies = [way.strategy for way in (ways.usual, *(way for _, way in ways.rules))]
    terms = next((one.reward for one in strategies if isinstance(one, Bandit)), Reward())
    found: dict[str, list[tuple[float, bool]]] = {}
    for call in calls:
        if call.propensity < 1.0:
            outcome = _outcome(call)
            found.setdefault(call.drawn, []).append((reward(outcome, terms), outcome.success))
    if len(found) < 2:
        raise CannotReplay(
            f"'{task}' has no calls that were drawn at random among two candidates. A policy with the strategy "
            "'weighted', 'bandit', 'race' or 'track' makes them."
        )
    return found


CONTENT = "content"
"""The guardrail metric of what clients said."""


def content_of(calls: Sequence[PastCall]) -> dict[str, list[float]]:
    """For each candidate that was drawn at random, how content its clients were: of each session the mean over its
    calls, in order of their first. A call is worth what was said of it, whenever that came, and 1 where nothing was
    said: so nobody gains by praise, and the odds of the draw make whoever complains alike for all."""
    found: dict[str, dict[str, list[float]]] = {}
    for call in calls:
        if call.propensity < 1.0:
            sessions = found.setdefault(call.drawn, {})
            sessions.setdefault(call.session or call.id, []).append(1.0 if call.feedback is None else call.feedback)
    return {name: [sum(said) / len(said) for said in sessions.values()] for name, sessions in found.items()}


def _ways(config: Config, task: str, policy: str) -> TaskWays:
    named = next((one for one in config.tasks if one.name == task), None)
    policies = {one.name: one for one in config.policies}
    if named is None:
        raise CannotReplay(f"the policies know no task '{task}'.")
    if policy and policy not in policies:
        raise CannotReplay(f"there is no policy '{policy}'.")
    if policy:
        named = structs.replace(named, policy=policy, rules=[])
    ways = ways_of(structs.replace(config, tasks=[named]), policies)[task]
    for way in (ways.usual, *(way for _, way in ways.rules)):
        if isinstance(way.strategy, Bandit):
            raise CannotReplay(
                f"policy '{way.policy.name}' is a bandit: it learns while it serves, and its choices would have been "
                "others had its past been another. Replay judges policies that stand still."
            )
    if any(when.header for when, _ in ways.rules):
        raise CannotReplay(
            "a rule looks at a header, and headers are not recorded. Name one policy with --policy."
        )
    return ways


def _targets(config: Config, ways: TaskWays, calls: Sequence[PastCall]) -> list[dict[str, float]]:
    """For each call, in order, who would have been put first. Latencies are those seen up to that call."""
    clock = [0.0]
    seen = Observations(clock=lambda: clock[0])
    names = {key.id: key.name for key in config.keys}
    always: dict[str, dict[str, float]] = {}
    """The shares of the ways that look at nothing of a call."""
    found = []
    for call in calls:
        clock[0] = call.created_at
        way = _way(ways, call, names)
        indifferent = not (way.costed or way.timed or way.judged)
        target = always.get(way.policy.name) if indifferent else None
        if target is None:
            target = _shares(way, call, seen)
            if indifferent:
                always[way.policy.name] = target
        found.append(target)
        seen.note(call.attempts, streamed=call.stream)
    return found


def _shares(way: Way, call: PastCall, seen: Observations) -> dict[str, float]:
    situation = _situation(way, call, seen)
    plan = decide(situation).plan
    if not plan.rungs:
        return dict(_NOBODY)
    kept, scene = tuple(rung.candidate for rung in plan.rungs), Scene(situation.facts)
    if way.policy.objective is not None:
        kept = ranked(kept, way.policy.objective, situation.facts, way.policy.objective_weights)
    else:
        kept = tuple(one for one in way.candidates if one in kept)
    return shares(lambda draw: way.strategy.order(kept, draw, scene))


def _way(ways: TaskWays, call: PastCall, names: dict[str, str]) -> Way:
    keys = (call.key_id, names.get(call.key_id, ""))
    caller = Caller(call.metadata, {}, keys, call.project, call.prompt_tokens, call.created_at)
    return next((way for when, way in ways.rules if not mismatch(when, caller)), ways.usual)


def _situation(way: Way, call: PastCall, seen: Observations) -> Situation:
    return Situation(
        candidates=way.candidates,
        strategy=way.strategy,
        facts=_facts(way, call, seen),
        constraints=way.policy.constraints,
        needs=Needs(call.prompt_tokens) if way.judged else Needs(),
        objective=way.policy.objective,
        objective_weights=way.policy.objective_weights,
    )


def _facts(way: Way, call: PastCall, seen: Observations) -> View:
    usage = Usage(prompt=call.prompt_tokens, completion=call.completion_tokens)
    found: dict[Candidate, Facts] = {}
    for candidate, facts in way.known.items():
        lately = seen.seen(candidate, streamed=call.stream)
        found[candidate] = structs.replace(
            facts, cost_usd=cost(usage, way.prices[candidate]), p50_ms=lately.p50_ms, p95_ms=lately.p95_ms,
            samples=lately.samples, off="",
        )  # fmt: skip
    return found


_NOBODY = {"nobody": 1.0}


def _logged(
    calls: Sequence[PastCall],
    targets: Sequence[dict[str, float]],
    value: Callable[[PastCall], float | None],
) -> list[Logged]:
    found = []
    for call, target in zip(calls, targets, strict=True):
        worth = value(call)
        if worth is not None and math.isfinite(worth):
            found.append(Logged(call.drawn, call.propensity, target, worth))
    return found


def _outcome(call: PastCall) -> Outcome:
    return Outcome(call.status == "ok", call.latency_ms, call.cost_usd)
