"""How far a training is and how well it does, as a line for people that is also read back for the curve. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

_LINE = re.compile(r"step (?P<step>\d+) of (?P<of>\d+), loss (?P<loss>\d+(?:\.\d+)?)")
POINTS = 60
"""Of a curve, at most about as many are kept as events."""


class Point(Struct, frozen=True):
    """The mean training loss of one step of ``of``."""

    step: int
    of: int
    loss: float


def line_of(point: Point) -> str:
    return f"step {point.step} of {point.of}, loss {point.loss:.3f}"


def point_in(line: str) -> Point | None:
    """None for a line that tells of something else."""
    found = _LINE.fullmatch(line)
    return Point(int(found["step"]), int(found["of"]), float(found["loss"])) if found else None


class Curve:
    """Which steps of a training become events of its run: the first, the last, and evenly many between."""

    def __init__(self) -> None:
        self._next = 1

    def event(self, line: str) -> tuple[str, dict[str, float]] | None:
        """(message, data) for a line that is worth an event."""
        point = point_in(line)
        if point is None or (point.step < self._next and point.step != point.of):
            return None
        self._next = point.step + max(1, point.of // POINTS)
        return (
            f"Step {point.step}/{point.of}: training loss={point.loss:.3f}",
            {"step": point.step, "steps": point.of, "train_loss": point.loss},
        )


def telling(say: Callable[..., None], start: float, span: float) -> Callable[[float, str], None]:
    """A tick that passes a training's progress on as it comes, as the part of a run from ``start``, and its curve as
    events of the run."""
    curve = Curve()

    def tick(done: float, line: str) -> None:
        message, data = curve.event(line) or ("", None)
        say(start + span * done, line, message, data)

    return tick
