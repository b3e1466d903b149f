"""How well a gateway's moderation ranks toxic texts before others."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from typing import Any

import httpx

_CATEGORIES = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")


def moderated(client: httpx.Client, text: str) -> tuple[float, bool, float]:
    """The highest score of OpenAI's categories, whether one of them is flagged, and milliseconds. Raises RuntimeError
    when the gateway refuses."""
    started = time.perf_counter()
    reply = client.post("moderations", json={"input": text})
    took = (time.perf_counter() - started) * 1000
    if not reply.is_success:
        raise RuntimeError(
            f"the gateway answered {reply.status_code} to /moderations; nothing can be measured so."
        )
    result = reply.json()["results"][0]
    scores = {
        name: score for name, score in result["category_scores"].items() if name.split("/")[0] in _CATEGORIES
    }
    flagged = any(result["categories"][name] for name in scores)
    return max(scores.values(), default=0.0), flagged, took


def auc(toxic: list[float], others: list[float]) -> tuple[float, float, float]:
    """The chance that a toxic text has the higher score, ties half, with its 95 % interval (Hanley & McNeil, 1982).
    Neither list is empty."""
    wins = sum((high > low) + 0.5 * (high == low) for high in toxic for low in others)
    area = wins / (len(toxic) * len(others))
    first, second = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area) + (len(toxic) - 1) * (first - area**2) + (len(others) - 1) * (second - area**2)
    half = 1.96 * math.sqrt(max(spread, 0.0) / (len(toxic) * len(others)))
    return area, max(0.0, area - half), min(1.0, area + half)


class Ranked:
    """Scores by source."""

    def __init__(self) -> None:
        self._scores: dict[tuple[str, bool], list[float]] = defaultdict(list)
        self._flags: dict[tuple[str, bool], int] = defaultdict(int)
        self._times: list[float] = []

    def add(self, source: str, toxic: bool, score: float, flagged: bool, took: float) -> None:
        for name in {source, "all"}:
            self._scores[name, toxic].append(score)
            self._flags[name, toxic] += flagged
        self._times.append(took)

    def lines(self) -> list[dict[str, Any]]:
        """AUC by source (where it has texts of both kinds) and over all; ``hits`` of ``n`` are the flagged ones."""
        found = []
        for source in sorted({name for name, _ in self._scores}):
            toxic, others = self._scores[source, True], self._scores[source, False]
            if not toxic or not others:
                continue
            area, low, high = auc(toxic, others)
            flagged = self._flags[source, True]
            line: dict[str, Any] = {
                "source": source, "family": f"{self._flags[source, False]}/{len(others)} others flagged", "rate": "AUC",
                "n": len(toxic), "hits": flagged, "share": area, "low": low, "high": high,
            }  # fmt: skip
            if source == "all":
                took = sorted(self._times)
                line |= {"p50_ms": took[len(took) // 2], "p95_ms": took[int(len(took) * 0.95)]}
            found.append(line)
        return found
