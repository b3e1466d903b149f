"""The sparse target: unbiased, aligned with the student's own tokens; and isotonic confidence. No torch."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from itertools import pairwise

import pytest

from gateway.storage.values import TokenThought
from trainer.training.generative import Isotonic, fit_isotonic, raw_score
from trainer.training.sparse import SparseTarget, aligned

TEACHER = [0.42, 0.25, 0.13, 0.09, 0.06, 0.03, 0.02]
STUDENT = [0.10, 0.30, 0.05, 0.20, 0.05, 0.25, 0.05]


def estimate(written: int, known: int) -> float:
    target = SparseTarget(tuple(range(known)), tuple(TEACHER[:known]))
    return -sum(weight * math.log(STUDENT[token]) for token, weight in target.weights(written))


@pytest.mark.parametrize("known", [0, 1, 2, 4, 7])
def test_the_expected_target_is_the_whole_cross_entropy(known: int) -> None:
    exact = -sum(p * math.log(q) for p, q in zip(TEACHER, STUDENT, strict=True))
    expected = sum(p * estimate(written, known) for written, p in enumerate(TEACHER))
    assert expected == pytest.approx(exact, abs=1e-12)


def test_knowing_more_alternatives_never_makes_it_noisier() -> None:
    def variance(known: int) -> float:
        values = [estimate(written, known) for written in range(7)]
        mean = sum(p * value for p, value in zip(TEACHER, values, strict=True))
        return sum(p * (value - mean) ** 2 for p, value in zip(TEACHER, values, strict=True))

    found = [variance(known) for known in range(8)]
    assert all(after <= before + 1e-12 for before, after in pairwise(found))


def test_draws_average_to_it_and_scaling_the_head_up_does_not() -> None:
    exact = -sum(p * math.log(q) for p, q in zip(TEACHER, STUDENT, strict=True))
    rng = random.Random(5)
    drawn = [estimate(rng.choices(range(7), TEACHER)[0], 2) for _ in range(20_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(exact, abs=0.02)
    scaled = -sum(p / 0.67 * math.log(q) for p, q in zip(TEACHER[:2], STUDENT[:2], strict=True))
    assert abs(scaled - exact) > 0.05


def test_alignment_by_bytes() -> None:
    words = {1: b"the ", 2: b"ans", 3: b"wer", 4: "é".encode()[:1], 5: "é".encode()[1:], 9: b""}
    numbers = {name: number for number, name in words.items() if name}
    teacher = [
        TokenThought(
            b"the ", ((b"the ", math.log(0.7)), (b"ans", math.log(0.2)), (b"unheard", math.log(0.1)))
        ),
        TokenThought(b"answer", ((b"answer", 0.0),)),
        TokenThought("é".encode(), (("é".encode(), 0.0),)),
    ]
    found = aligned([1, 2, 3, 4, 5, 9], teacher, words.__getitem__, numbers.get, 9)
    first = found[0]
    assert first is not None
    assert first.tokens == (1, 2)
    assert first.probabilities == pytest.approx((0.7, 0.2))
    assert first.tail == pytest.approx(0.1)
    assert found[1:] == (None,) * 5  # cut differently: the written token alone is learnt


def test_isotonic_rises_and_breaks_ties() -> None:
    rng = random.Random(3)
    scores = [rng.uniform(-6, 0) for _ in range(400)]
    hits = [rng.random() < 1 / (1 + math.exp(-2 * (score + 3))) for score in scores]
    found = fit_isotonic(scores, hits)
    found.check()
    wide = [found(score / 10) for score in range(-100, 20)]
    assert all(a < b for a, b in pairwise(wide))
    assert found(-6) < 0.15
    assert found(0) > 0.9
    low = [hit for score, hit in zip(scores, hits, strict=True) if -3.5 < score < -2.5]
    assert found(-3) == pytest.approx(sum(low) / len(low), abs=0.12)


def test_one_wild_guess_counts() -> None:
    assert raw_score([-0.01] * 9 + [-4.0]) < raw_score([-0.4] * 10)
    assert raw_score([]) < -50


@pytest.mark.parametrize(
    "broken", [Isotonic([], []), Isotonic([1, 0], [0, 1]), Isotonic([0, 1], [1, 0]), Isotonic([0], [2.0])]
)
def test_a_calibration_that_is_none_is_refused(broken: Isotonic) -> None:
    with pytest.raises(ValueError, match="rising"):
        broken.check()


def test_nobody_pays_for_torch_who_does_not_train() -> None:
    code = (
        "import json, sys, trainer.worker, trainer.job, trainer.engines.classifier, gateway.bootstrap;"
        "print(json.dumps([name for name in ('torch', 'transformers', 'peft') if name in sys.modules]))"
    )
    assert (
        json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) == []
    )
