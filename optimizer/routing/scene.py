"""What a strategy may look at besides the candidates."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from optimizer.bandits.arms import Arm
from optimizer.routing.facts import View


class Scene(Struct, frozen=True):
    """``facts`` by candidate, bandit ``arms`` by candidate name; ``sticky``: the caller to keep together, ""
    when there is none."""

    facts: View = {}
    arms: Mapping[str, Arm] = {}
    sticky: str = ""


EMPTY = Scene()
