"""Answers that say what their documents do not.

Lexical entailment: a sentence is supported when enough of its content words stand in the context (precision of the
answer against its source, as ROUGE-1 counts it: Lin, 2004), and every number and every name in it does. It compares
words and understands nothing.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta, field

from gateway.guardrails.groundedness.sentences import content, sentences
from gateway.guardrails.guardrail import WHOLE, Guardrail, Place, Scene
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, WAIT, Direction, Verdict

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?<=[^\s.!?:] )[A-Z][\w'’-]{2,}")  # a capital that does not begin a sentence
_FEWEST = 3  # content words: "Yes, of course." says nothing that could be false


class Groundedness(Guardrail, frozen=True, tag="groundedness", tag_field="type"):
    """``least``: the share of a sentence's content words that the context must hold. ``sources``: where the context
    stands. ``share``: of the answer's sentences that may lack support. Without any context nothing is judged."""

    least: Annotated[float, Meta(gt=0, le=1)] = 0.5
    share: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    sources: Annotated[list[Place], Meta(min_length=1)] = field(
        default_factory=lambda: ["context", "tool_results"]
    )
    action: Literal["flag", "block"] = "flag"

    def reads(self, place: Place) -> bool:
        return place in (self.directions or ("output",))

    def weighs(self, place: Place) -> bool:
        return place in self.sources

    @property
    def needs_scene(self) -> bool:
        return True

    def check_in(self, scene: Scene, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        if direction == "in":
            return ALLOW
        if not final:
            return WAIT
        context = scene.told(*self.sources)
        if not context or not text.strip():
            return ALLOW
        given = "\n".join(context)
        # An answer may take up the question's words and name its documents; neither supports a claim.
        asked = "\n".join([*scene.texts("input"), *scene.names()])
        said = sentences(text)
        wrong = unsupported(said, given, asked, self.least)
        if len(wrong) <= self.share * len(said):
            return ALLOW
        return BLOCK if self.action == "block" else FLAG

    @property
    def reads_escapes(self) -> bool:
        """Words are compared as both sides spell them."""
        return False

    @property
    def reach(self) -> int:
        """An answer is judged as a whole."""
        return WHOLE


def unsupported(said: list[str], given: str, asked: str, least: float) -> list[str]:
    """The sentences that ``given`` does not support. Pure."""
    known, both = set(content(given)), set(content(given)) | set(content(asked))
    numbers = set(_numbers(given)) | set(_numbers(asked))
    wrong = []
    for sentence in said:
        terms = content(sentence)
        names = [term for name in _NAME.findall(sentence) for term in content(name)]  # parts of AS-206 each
        if (
            any(number not in numbers for number in _numbers(sentence))
            or any(name not in both for name in names)
            or (len(terms) >= _FEWEST and sum(term in known for term in terms) < least * len(terms))
        ):
            wrong.append(sentence)
    return wrong


def _numbers(text: str) -> list[str]:
    return [found.replace(",", "").rstrip(".") for found in _NUMBER.findall(text)]
