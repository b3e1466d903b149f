"""Gate: the student answers fast enough."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Latency(Struct, frozen=True, tag="latency", tag_field="type", forbid_unknown_fields=True):
    max_p95_ms: Annotated[float, Meta(gt=0)] = 500.0
    min_calls: Annotated[int, Meta(ge=1)] = 60
