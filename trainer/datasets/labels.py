"""Labels that several teachers voted for, in the place of one teacher's answer. Only the training part: what calibrates
and examines stays what the teacher answered, because that is whom a student is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from gateway.storage.values import TrainingCall
from trainer.datasets.curate import Step


def labelled(calls: Sequence[TrainingCall]) -> tuple[list[TrainingCall], Step]:
    """The calls with their labels, and how many a vote changed. A call nobody voted on stays as it is."""
    voted = sum(call.votes > 0 for call in calls)
    if not voted:
        return list(calls), Step("ensemble", len(calls), len(calls), in_force=False)
    taught = [structs.replace(call, answer=call.label) if call.votes and call.label else call for call in calls]
    changed = sum(new.answer != old.answer for new, old in zip(taught, calls, strict=True))
    unsure = sum(call.votes > 0 and call.label_share < 1 for call in calls)
    noted = {"voted on": voted, "not unanimous": unsure}
    judged = sum(call.votes > 0 and call.judged for call in calls)
    noted |= {"chosen by a judge": judged} if judged else {}
    return taught, Step("ensemble", len(calls), len(calls), found=changed, noted=noted)
