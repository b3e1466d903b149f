"""A dataset holds what language models learn from beside the answer, only where a recipe asks for it."""

from __future__ import annotations

import random
import string

from gateway.storage.values import TokenThought, TrainingCall
from trainer.datasets.versions import Version, assemble

HEARD = (TokenThought(b"yes", ((b"yes", -0.1), (b"no", -2.4))),)


def calls() -> list[TrainingCall]:
    rng = random.Random(0)
    return [
        TrainingCall(
            call_id=f"c{n}",
            created_at=float(n),
            group=f"g{n}",
            key_id="k",
            end_user="",
            session="",
            text=" ".join("".join(rng.choices(string.ascii_lowercase, k=7)) for _ in range(6)),
            answer="yes",
            finish_reason="stop",
            completion_tokens=1,
            metadata={},
            logprobs=HEARD,
        )
        for n in range(200)
    ]


def version(**more) -> Version:
    return assemble(calls(), project="p", task="t", fingerprint="f", run="r", masked=True, **more)


def test_thoughts_and_lost_answers_reach_the_training_part_alone() -> None:
    found = version(thoughts=True, rejected={f"c{n}": ("no", "yes", "no") for n in range(200)})
    assert found.part("train")
    assert all(row.logprobs == HEARD and row.rejected == ("no",) for row in found.part("train"))
    held = [*found.part("calibration"), *found.part("holdout")]
    assert held
    assert not any(row.logprobs or row.rejected for row in held)


def test_nobody_else_stores_them() -> None:
    plain = version()
    assert not any(row.logprobs or row.rejected for row in plain.rows)
    assert plain.digest != version(thoughts=True).digest
    assert plain.digest == version(rejected={"another": ("no",)}).digest
