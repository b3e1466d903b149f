"""Times that can never run out because another always does before them, and checks that overtake each other: said, and
left as they are."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config import Config
from gateway.policy.reading import Path, Problem, Source

_ENDS: dict[str, tuple[str, ...]] = {
    "connect": ("first_byte", "total"), "first_byte": ("total",), "chunk_gap": ("total",),
}  # fmt: skip
"""By what each part of a call may be ended before its own time is over."""


def vain_times(config: Config, source: Source) -> Iterator[Problem]:
    """Warns of those that are written; a default that another setting overtakes is nobody's wish."""
    yield from _timeouts(config, source)
    retries = config.retries
    if retries.base_s > retries.cap_s and _written(source, ("retries", "base_s")):
        message = f"{retries.base_s:g} s are more than cap_s ({retries.cap_s:g} s), so no sleep is ever that long."
        yield source.problem(("retries", "base_s"), message, "Lower base_s, or raise cap_s.")
    for name, rules in config.upstreams.items():
        check = rules.health
        if check is not None and check.timeout_s > check.every_s:
            message = f"{check.timeout_s:g} s are more than every_s ({check.every_s:g} s), so checks overlap."
            hint = "Lower timeout_s, or raise every_s."
            yield source.problem(("upstreams", name, "health", "timeout_s"), message, hint)
    first = min(config.timeouts.first_byte, config.timeouts.total)
    for index, policy in enumerate(config.policies):
        after = policy.hedge.after_ms if policy.hedge is not None else None
        if after is not None and after >= first * 1000:
            message = f"after {after:g} ms the first call has been given up ({first:g} s), so no second is ever made."
            yield source.problem(("policies", index, "hedge", "after_ms"), message, "Lower it.")


def _timeouts(config: Config, source: Source) -> Iterator[Problem]:
    times = config.timeouts
    for name, ends in _ENDS.items():
        mine: float = getattr(times, name)
        sooner = next((end for end in ends if mine > getattr(times, end)), "")
        if sooner and _written(source, ("timeouts", name)):
            message = f"{mine:g} s are more than {sooner} ({getattr(times, sooner):g} s), which ends the call before."
            yield source.problem(("timeouts", name), message, f"Lower {name}, or raise {sooner}.")


def _written(source: Source, path: Path) -> bool:
    return path in source.places
