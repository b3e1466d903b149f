"""What the benchmark beside other gateways says of figures on the machine that its bars were set on."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.reference import slower, told


def way(p50: float, streams: float) -> dict[str, Any]:
    return {"1": {"p50_ms": p50}, "streams": {"per_s": streams}}


TABLE = {"understudy": way(0.7, 900), "tensorzero": way(0.6, 117.5), "portkey": way(3.45, 192.5), "litellm": way(20, 0)}


def test_the_peer_that_makes_least_of_the_difference_counts() -> None:
    found = slower(TABLE)
    assert (round(found["p50"].times, 3), found["p50"].by) == (2.5, "tensorzero")
    assert (round(found["streams"].times, 3), found["streams"].by) == (2.0, "portkey")


def test_figures_are_told_at_its_speed() -> None:
    first, second = told(TABLE, 0.7, 900.0)
    assert first == "where the bars were set, 2.5 times as fast by tensorzero: 0.280 ms added to the p50"
    assert second == "where the bars were set, 2.0 times as fast by portkey: 1800 streams a second"


def test_without_peers_or_figures_nothing_is_told() -> None:
    assert told({"understudy": way(0.7, 900)}, 0.7, 900.0) == []
    assert told(TABLE, None, None) == []
