"""Gate: the student agrees with the teacher on the calls it answers."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Agreement(Struct, frozen=True, tag="agreement", tag_field="type", forbid_unknown_fields=True):
    """H0: agreement on answered calls ≤ the task's target − margin. ``margin`` None takes the task's."""

    margin: Annotated[float, Meta(gt=0, lt=1)] | None = None
