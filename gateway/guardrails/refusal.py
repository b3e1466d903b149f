"""Answers in which the model declines."""

from __future__ import annotations

import re
from typing import Literal

from gateway.guardrails.guardrail import Guardrail, Place
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, Direction, Verdict

_REACH = 160
_VERBS = (
    r"(?:help|assist|do that|comply|provide|answer|fulfil\w{0,3}|support|create|write|generate|share|discuss|"
    r"engage|offer|continue|participate|produce|give)"
)
_REFUSES = re.compile(
    r"(?:^|[.!?;:,]\s|\n|\bbut )\W{0,3}(?:i(?:'m| am) (?:very |so |really )?sorry,? (?:but )?(?:i|that|this)?\s?)?"
    r"(?:\bi (?:can(?:no|')t|can not|could(?: not|n't)|won't|will not|(?:am|'m) (?:not able|unable) to|must decline|"
    r"have to decline|(?:do not|don't) feel comfortable)\b(?: \w{1,12})?(?: (?:with|" + _VERBS + r")\b| to\b)"
    r"|i(?:'m| am) (?:not able|unable|not allowed|not permitted) to " + _VERBS
    + r"|i (?:must|have to|need to|will have to) (?:respectfully )?decline\b"
    r"|as an ai(?: language model| assistant)?,? i (?:can(?:no|')t|am not able|do not|don't|am unable)\b"
    r"|(?:es tut mir leid|leider),? (?:aber )?(?:ich kann|kann ich) (?:dir|ihnen|das|dabei|dazu)"
    r"|je (?:suis désolée?,? mais je )?ne peux pas (?:vous |t')?(?:aider|fournir|répondre)"
    r"|lo siento,? (?:pero )?no puedo)"
)  # fmt: skip


class Refusal(Guardrail, frozen=True, tag="refusal", tag_field="type"):
    """Reads answers only. ``action``: flag (so that refusals can be counted), or block."""

    action: Literal["flag", "block"] = "flag"

    def reads(self, place: Place) -> bool:
        return place in (self.directions or ("output",))

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        if direction == "in" or _REFUSES.search(text.lower().replace("’", "'")) is None:
            return ALLOW
        return BLOCK if self.action == "block" else FLAG

    @property
    def reach(self) -> int:
        """Characters of an answer that have to be seen together: the longest way to say no that is known here."""
        return _REACH
