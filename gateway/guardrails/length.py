"""Texts that are too long."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from gateway.guardrails.guardrail import Guardrail
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, Direction, Scope, Verdict


class Length(Guardrail, frozen=True, tag="length", tag_field="type"):
    """``characters``: the most that one text may have: one message's text, one tool result, one answer. A streamed
    answer is stopped when it grows beyond that; what came before has been sent."""

    characters: Annotated[int, Meta(ge=1, le=16_777_216)]
    action: Literal["block", "flag"] = "block"

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        if len(text) <= self.characters:
            return ALLOW
        return BLOCK if self.action == "block" else FLAG

    @property
    def scope(self) -> Scope:
        return "untrusted"

    @property
    def reads_escapes(self) -> bool:
        """Characters are counted as they stand."""
        return False

    @property
    def reach(self) -> int:
        """Characters of an answer that have to be seen together: one more is too many already."""
        return self.characters + 1
