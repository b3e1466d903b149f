"""What a guardrail says about a text."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Direction = Literal["in", "out"]


class Verdict(Struct, frozen=True):
    """``wait``: a streamed text ends in what may become a violation; more of it has to be seen first."""

    action: Literal["allow", "mask", "block", "wait"]


ALLOW = Verdict("allow")
MASK = Verdict("mask")
BLOCK = Verdict("block")
WAIT = Verdict("wait")
