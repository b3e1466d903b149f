"""What a generative student is, as values: its base, its adapter, and how sure its words make it. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct

Adapt = Literal["lora", "qlora", "full"]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
WHOLE_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
_TIE_BREAK = 0.01


def rule_of_thumb(width: int, adapt: Adapt) -> float:
    """A learning rate by the hidden size: 5e-5 · (2000 / width)^0.78, ten times that for an adapter, at most 1e-2.
    After Schulman et al., "LoRA Without Regret", 2025, who fitted the exponent over Llama and Qwen models."""
    rate: float = 5e-5 * (2000 / width) ** 0.78 * (1 if adapt == "full" else 10)
    return min(1e-2, rate)


class Isotonic(Struct, frozen=True, forbid_unknown_fields=True):
    """A rising map from raw scores to probabilities: straight lines between knots."""

    scores: list[float]
    probabilities: list[float]

    def __call__(self, score: float) -> float:
        """The probability in (0, 1). Beyond the knots, and where they are level, a hundredth of it still rises with
        the score, so that two answers are as good as never equally sure."""
        value = float(np.interp(score, self.scores, self.probabilities))
        rank = 1.0 / (1.0 + float(np.exp(-np.clip(score, -30.0, 30.0) - 1.0)))
        return (1.0 - _TIE_BREAK) * value + _TIE_BREAK * rank

    def check(self) -> None:
        """Raises ValueError for a map that is none (from a file that somebody else made)."""
        rising = all(a < b for a, b in zip(self.scores, self.scores[1:], strict=False))
        level = all(a <= b for a, b in zip(self.probabilities, self.probabilities[1:], strict=False))
        fits = len(self.scores) == len(self.probabilities) > 0
        if not (fits and rising and level and all(0 <= one <= 1 for one in self.probabilities)):
            raise ValueError("the calibration is not a rising map onto probabilities")


def raw_score(logprobs: Sequence[float]) -> float:
    """What the calibration looks at: the mean and the least of an answer's token log-probabilities, added. The mean
    alone forgives one wild guess in a long answer, the least alone knows nothing of the rest."""
    return sum(logprobs) / len(logprobs) + min(logprobs) if logprobs else -60.0


def fit_isotonic(scores: Sequence[float], hits: Sequence[bool]) -> Isotonic:
    """Least-squares isotonic regression by pool-adjacent-violators (Barlow et al., 1972), its knots in the middle
    of each pool. Half a hit and half a miss are added to every pool (Krichevsky & Trofimov): none is certain."""
    if not scores:
        return Isotonic([0.0], [0.5])
    pools: list[list[float]] = []  # [hits, count, sum of scores]
    for score in sorted(set(scores)):
        mine = [hit for one, hit in zip(scores, hits, strict=True) if one == score]
        pools.append([float(sum(mine)), float(len(mine)), score * len(mine)])
        while len(pools) > 1 and pools[-2][0] * pools[-1][1] >= pools[-1][0] * pools[-2][1]:
            last = pools.pop()
            pools[-1] = [a + b for a, b in zip(pools[-1], last, strict=True)]
    smoothed = np.maximum.accumulate([(hit + 0.5) / (count + 1.0) for hit, count, _ in pools])
    return Isotonic([total / count for _, count, total in pools], [float(one) for one in smoothed])


class Frame(Struct, frozen=True, forbid_unknown_fields=True):
    """What stands around the text a student is asked about. Without a chat template: nothing, and a new line."""

    before: str = ""
    after: str = "\n"

    def around(self, text: str) -> str:
        return f"{self.before}{text}{self.after}"


class Generation(Struct, frozen=True, forbid_unknown_fields=True):
    """What a manifest says of a generative student. ``base``: folder, and the digest of what must lie there.
    ``frame``: what it was asked with in training, and so must be when it serves; ``max_new_tokens``:
    the longest answer, in its own tokens."""

    base: str
    base_digest: Digest
    adapt: Adapt
    rank: int
    max_new_tokens: Annotated[int, Meta(ge=1, le=65536)]
    frame: Frame
    calibration: Isotonic

    @property
    def files(self) -> tuple[str, ...]:
        return WHOLE_FILES if self.adapt == "full" else ADAPTER_FILES


@dataclass(frozen=True, slots=True)
class Generative:
    """A generative student's parameters: where its files lie."""

    folder: Path
    plan: Generation
