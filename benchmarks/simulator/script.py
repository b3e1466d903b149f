"""What happens in one run: a pure function of the seed. Times are seconds after the start."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

Route = Literal["chat", "responses", "messages", "completions", "embeddings", "gemini"]
Manner = Literal["stays", "leaves at once", "leaves within", "reads slowly"]

PROVIDERS = ("a", "b")
PROJECTS = ("red", "blue", "poor")
STREAMED: tuple[Route, ...] = ("chat", "responses", "messages", "completions", "gemini")

WELL = ("usual", "slow", "bytes", "crlf", "thinks")
"""How a provider behaves that answers; each fault below is one row or more of the fault matrix."""
FAULTS = (
    "500", "503", "429", "429 after 1 s", "429 after junk", "401", "400", "hangs", "resets", "is cut short", "html",
    "nothing", "wrong json", "redirects", "cut", "says an error", "never ends", "falls silent",
)  # fmt: skip

WEATHER = (
    "provider a refuses", "redis hangs", "redis resets", "redis refuses", "redis forgets", "redis holds nonsense",
    "the database is locked", "the ingester rests", "the disk is full", "the disk is slow", "the disk fails",
    "the clock jumps on", "the clock jumps back", "policies change", "policies break", "a key is revoked",
    "a heavy body", "half-open sockets", "junk on the wire", "an endless header", "a slow body",
)  # fmt: skip


class Step(Struct, frozen=True):
    """One request. ``answers``: by provider, what it does at each try; afterwards it is well."""

    number: int
    at: float
    project: str
    route: Route
    stream: bool
    manner: Manner
    leaves_after: float
    answers: dict[str, tuple[str, ...]]
    twin: int
    """The number of the request whose body this one repeats; its own: it repeats none."""
    again: bool
    """Under that one's ``Idempotency-Key``."""


class Event(Struct, frozen=True):
    """Something happens to the machine at ``at`` and is over after ``lasts``."""

    at: float
    what: str
    lasts: float


class Script(Struct, frozen=True):
    seed: int
    steps: tuple[Step, ...]
    events: tuple[Event, ...]
    redis: bool
    cache: bool
    masks: bool
    hedges: bool
    durable: bool
    stops_early: bool
    """The gateway is told to stop while calls are under way."""

    def plan(self, provider: str) -> Callable[[int], Sequence[str]]:
        """What ``provider`` does at each try of the request with a number."""
        planned = {step.twin: step.answers[provider] for step in reversed(self.steps)}
        return lambda number: planned.get(number, ())


def script_of(seed: int, calls: int = 26, span: float = 0.5) -> Script:
    """The script of ``seed``: ``calls`` requests within ``span`` seconds."""
    rng = random.Random(seed)
    rough = rng.choice((0.1, 0.3, 0.6))
    steps: list[Step] = []
    for number in range(calls):
        steps.append(_step(rng, number, steps, rng.uniform(0, span), rough))
    kinds = rng.sample(WEATHER, rng.choice((1, 2, 3, 4)))
    events = [Event(rng.uniform(0, span), what, rng.uniform(0.05, 0.5)) for what in kinds]
    return Script(
        seed, tuple(steps), tuple(sorted(events, key=lambda one: one.at)),
        redis=rng.random() < 0.5, cache=rng.random() < 0.4, masks=rng.random() < 0.5, hedges=rng.random() < 0.2,
        durable=rng.random() < 0.3, stops_early=rng.random() < 0.15,
    )  # fmt: skip


def step_of(seed: int, number: int, rough: float) -> Step:
    """One request by itself, its provider rough with this probability at each try."""
    return _step(random.Random(f"{seed}:{number}"), number, [], 0.0, rough)


def _step(rng: random.Random, number: int, before: list[Step], at: float, rough: float) -> Step:
    manners: tuple[Manner, ...] = ("stays", "leaves at once", "leaves within", "reads slowly")
    manner = rng.choices(manners, weights=(8, 1, 1, 1))[0]
    again, twin, project = False, number, rng.choice(PROJECTS)
    route: Route = rng.choice((*STREAMED, "chat", "chat", "embeddings"))
    stream = route in STREAMED and rng.random() < 0.5
    if before and rng.random() < 0.2:
        other = rng.choice(before)
        twin, project, route, stream = other.twin, other.project, other.route, other.stream
        again = rng.random() < 0.5
    answers = {name: tuple(_behaviour(rng, rough) for _ in range(3)) for name in PROVIDERS}
    leaves = rng.uniform(0.0, 0.3)
    return Step(number, at, project, route, stream, manner, leaves, answers, twin, again)


def _behaviour(rng: random.Random, rough: float) -> str:
    return rng.choice(FAULTS) if rng.random() < rough else rng.choice(WELL)
