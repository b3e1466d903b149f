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


def part_of(project: str, task: str, group: str) -> Part:
    """60 % train, 25 % calibration, 15 % holdout, by a stable hash."""
    material = "\0".join(("split", project, task, group)).encode()
    position = int.from_bytes(hashlib.sha256(material).digest()[:8], "big") / 2.0**64
    if position < _TRAIN:
        return "train"
    return "calibration" if position < _TRAIN + _CALIBRATION else "holdout"
