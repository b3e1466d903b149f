"""Calls that no client of this gateway sent, imported or synthetic: they may teach, and prove nothing.

They never calibrate and never examine, and only those teach whose input is new: one that falls into the group of a
call of the task's own traffic, or is near-identical to one, would be on both sides of a split or only say again what
is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from gateway.storage.values import TrainingCall
from trainer.datasets.curate import Chain, Step
from trainer.datasets.near import clusters

Foreign = Literal["", "import", "synthetic"]


def kind_of(call: TrainingCall) -> Foreign:
    """What a call's ``source`` begins with; "" for the task's own traffic."""
    return "" if not call.source else "synthetic" if call.source.startswith("synthetic") else "import"


def admit(
    foreign: Sequence[TrainingCall], own: Sequence[TrainingCall], chain: Chain
) -> tuple[list[TrainingCall], Step]:
    """The calls of elsewhere that are new beside the task's own, and what was left out."""
    if not foreign:
        return [], Step("from_elsewhere", 0, 0, in_force=False)
    groups = {call.group for call in own}
    labels = clusters([call.text for call in (*own, *foreign)], chain.tick, chain.spread)
    known = set(labels[: len(own)].tolist())
    kept = [
        call
        for call, label in zip(foreign, labels[len(own) :].tolist(), strict=True)
        if call.group not in groups and label not in known
    ]
    synthetic = sum(kind_of(call) == "synthetic" for call in kept)
    noted = {"imported": len(kept) - synthetic, "synthetic": synthetic}
    return kept, Step("from_elsewhere", len(foreign), len(kept), len(foreign) - len(kept), noted=noted)
