"""A small made-up task with a closed set of answers, and a student trained on it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.artifacts.artifact import Artifact
from trainer.artifacts.registry import store
from trainer.recipes import Example, Trained, train_first

_TOPICS = {
    '{"queue":"hardware"}': ("printer jams", "screen flickers", "laptop battery swells", "keyboard is stuck"),
    '{"queue":"network"}': ("wifi drops", "vpn refuses me", "router blinks red", "dns fails"),
    '{"queue":"billing"}': ("invoice is wrong", "charged twice", "refund is late", "card was declined"),
    '{"queue":"access"}': ("password expired", "account is locked", "cannot log in", "second factor is lost"),
}


def tickets(count: int, seed: int = 0, noise: float = 0.01) -> list[tuple[str, str]]:
    """(text, answer) pairs; a share ``noise`` of the answers is another one."""
    rng = random.Random(seed)
    answers = list(_TOPICS)
    found = []
    for number in range(count):
        answer = rng.choice(answers)
        complaint = rng.choice(_TOPICS[answer])
        who = "".join(rng.choice("abcdefghijklmnop") for _ in range(6))
        text = f"{rng.choice(['Hello', 'Hi team', 'Urgent', 'Please help'])}, {complaint} at desk {who} since {number}"
        found.append((text, rng.choice(answers) if rng.random() < noise else answer))
    return found


@pytest.fixture(scope="session")
def make_tickets() -> Callable[..., list[tuple[str, str]]]:
    return tickets


@pytest.fixture(scope="session")
def trained() -> Trained:
    examples = [Example(text, answer, tokens=6) for text, answer in tickets(400)]
    return train_first("auto", examples, seed=1, tick=lambda *_: None)[1]


@pytest.fixture
def artifact(trained: Trained, tmp_path: Path) -> tuple[Path, Artifact]:
    """A stored student and its folder ``artifacts/triage-abcd-v1``."""
    folder = tmp_path / "artifacts" / "triage-abcd-v1"
    return folder, store(folder, "classifier", trained, "d" * 64, 1)
