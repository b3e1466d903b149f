"""Cascade: the task's certified student first, then the candidates as written, the teacher as the last rung.

The student itself is added by ``optimizer.routing.choose``, which knows what is certified; this strategy only
says that a student may stand in front.
"""

from __future__ import annotations

from msgspec import Struct

from optimizer.routing.plan import Candidate, Choice
from optimizer.routing.scene import EMPTY, Scene


class Cascade(Struct, frozen=True, tag="cascade", tag_field="type", forbid_unknown_fields=True):
    def order(self, candidates: tuple[Candidate, ...], draw: float, scene: Scene = EMPTY) -> Choice:
        return Choice(order=candidates, propensity=1.0)
