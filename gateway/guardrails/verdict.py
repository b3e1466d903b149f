"""What a guardrail says about a text."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Direction = Literal["in", "out"]
Scope = Literal["all", "untrusted"]
"""Which texts of a request a guardrail reads; untrusted: not those of system and developer messages."""


class Verdict(Struct, frozen=True):
    """``flag``: recorded, and nothing else. ``wait``: a streamed text ends in what may become a violation;
    more of it has to be seen first."""

    action: Literal["allow", "flag", "mask", "block", "wait"]


ALLOW = Verdict("allow")
FLAG = Verdict("flag")
MASK = Verdict("mask")
BLOCK = Verdict("block")
WAIT = Verdict("wait")
