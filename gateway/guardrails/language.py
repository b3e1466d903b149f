"""Texts in languages that are not served."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from gateway.guardrails.guardrail import WHOLE, Guardrail
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, WAIT, Direction, Scope, Verdict
from optimizer.languages import KNOWN, language

_SEEN = 4000  # characters: a language shows itself early


class Language(Guardrail, frozen=True, tag="language", tag_field="type"):
    """``allow``: ISO 639-1 codes. A text whose language cannot be told (short, mixed, or none of those known) passes.
    ``shortest``: characters below which nothing is judged."""

    allow: Annotated[list[str], Meta(min_length=1)]
    action: Literal["block", "flag"] = "block"
    shortest: Annotated[int, Meta(ge=1)] = 20

    def __post_init__(self) -> None:
        for code in self.allow:
            if code not in KNOWN:
                raise ValueError(f"'allow' names {code!r}; known are {', '.join(sorted(KNOWN))}.")

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        if not final:
            return WAIT
        if len(text) < self.shortest:
            return ALLOW
        found = language(text[:_SEEN])
        if not found or found in self.allow:
            return ALLOW
        return BLOCK if self.action == "block" else FLAG

    @property
    def scope(self) -> Scope:
        return "untrusted"

    @property
    def reach(self) -> int:
        """An answer is judged as a whole."""
        return WHOLE
