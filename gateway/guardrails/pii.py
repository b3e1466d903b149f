"""Personal data in prompts: blocked, or masked with placeholders that are put back into the answer."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Pii(Struct, frozen=True, tag="pii", tag_field="type", forbid_unknown_fields=True):
    """``action``: mask (the provider sees placeholders, the client gets its own values back) or block."""

    action: Literal["mask", "block"] = "mask"
