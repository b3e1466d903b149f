"""The machine on which the bars in milliseconds and in streams a second were set: what the other gateways did there.

A virtual machine on a busy host may take several times as long for the same work, whoever does it. Where a peer is
measured beside Understudy, it tells how many times: what it took here over what it took there. The bars themselves are
held against what was measured; this says what that would be at the other machine's speed, by the peer that makes least
of the difference.
"""

from __future__ import annotations

from typing import Any, NamedTuple

P50_MS = {"litellm": 5.7, "portkey": 0.69, "tensorzero": 0.24}
"""At one connection, on two cores with Python 3.11 as here; the slower of two figures where there were two."""
STREAMS_PER_S = {"litellm": 12.0, "portkey": 385.0, "tensorzero": 470.0}
"""Of 203 events, on one core; the best of several clients."""


class Slower(NamedTuple):
    """How many times slower this machine is, and whose word that is."""

    times: float
    by: str


def slower(table: dict[str, Any]) -> dict[str, Slower]:
    """By ``p50`` and ``streams``; empty without a peer. ``table`` has the ways' figures by connections."""
    found: dict[str, list[Slower]] = {"p50": [], "streams": []}
    for name, there in P50_MS.items():
        if name not in table:
            continue
        found["p50"].append(Slower(table[name]["1"]["p50_ms"] / there, name))
        if (here := table[name]["streams"]["per_s"]) > 0:
            found["streams"].append(Slower(STREAMS_PER_S[name] / here, name))
    return {kind: min(many) for kind, many in found.items() if many}


def told(table: dict[str, Any], added_ms: float | None, streams: float | None) -> list[str]:
    """A line for each figure that a peer says something of."""
    factors, lines = slower(table), []
    figures = {"p50": (added_ms, "{:.3f} ms added to the p50"), "streams": (streams, "{:.0f} streams a second")}
    for kind, (figure, text) in figures.items():
        one = factors.get(kind)
        if figure is not None and one is not None:
            there = text.format(figure / one.times if kind == "p50" else figure * one.times)
            lines.append(f"where the bars were set, {one.times:.1f} times as fast by {one.by}: {there}")
    return lines
