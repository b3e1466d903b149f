"""Personal data in prompts: blocked, or masked with placeholders that are put back into the answer."""

from __future__ import annotations

from typing import Literal

from gateway.guardrails.guardrail import Guardrail
from gateway.guardrails.verdict import ALLOW, BLOCK, MASK, Direction, Scope, Verdict
from gateway.masking import find


class Pii(Guardrail, frozen=True, tag="pii", tag_field="type"):
    """``action``: mask (the provider sees placeholders, the client gets its own values back) or block."""

    action: Literal["mask", "block"] = "mask"

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        """Answers pass: what they hold of the client's own data is the client's, put back by the stage."""
        if direction == "out" or not find(text):
            return ALLOW
        return MASK if self.action == "mask" else BLOCK

    @property
    def scope(self) -> Scope:
        return "all"

    @property
    def reach(self) -> int:
        """Characters of an answer that have to be seen together: none."""
        return 0
