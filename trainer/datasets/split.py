"""Which part of a dataset a call belongs to, decided before anything looks at it.

The part follows from the input's group alone, so near-identical inputs never lie on both sides, a call keeps
its part in every later dataset of the task, and no row that calibrated a student ever trains its successor.
"""

from __future__ import annotations

import hashlib
from typing import Literal

Part = Literal["train", "calibration", "holdout"]
PARTS: tuple[Part, ...] = ("train", "calibration", "holdout")
_TRAIN, _CALIBRATION = 0.60, 0.25
_CROSSFIT = 0.95
FOLDS = 5


def part_of(project: str, task: str, group: str, *, crossfit: bool = False) -> Part:
    """60 % train, 25 % calibration, 15 % holdout, by a stable hash; 95 % train and 5 % holdout when the
    training part calibrates by cross-fitting."""
    position = _position("split", project, task, group)
    if crossfit:
        return "train" if position < _CROSSFIT else "holdout"
    if position < _TRAIN:
        return "train"
    return "calibration" if position < _TRAIN + _CALIBRATION else "holdout"


def fold_of(project: str, task: str, group: str) -> int:
    """Which of ``FOLDS`` parts of a cross-fitted training part a group lies in."""
    return int(_position("fold", project, task, group) * FOLDS)


def _position(salt: str, project: str, task: str, group: str) -> float:
    material = "\0".join((salt, project, task, group)).encode()
    return int.from_bytes(hashlib.sha256(material).digest()[:7], "big") / 2.0**56
