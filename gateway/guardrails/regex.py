"""Patterns of the operator's own, matched in linear time."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta

from gateway.guardrails.guardrail import WHOLE, Guardrail
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, WAIT, Direction, Verdict
from gateway.schemas.pattern_syntax import Anchor, Either, Node, PatternRefused, Repeat, Sequence, parse
from gateway.schemas.patterns import Pattern


class Regex(Guardrail, frozen=True, tag="regex", tag_field="type"):
    """``patterns``: regular expressions (RE2's kind: no look-around, no back references), found anywhere in a text.
    ``window``: the most characters that a find may take in a streamed answer. A pattern with ``^`` or ``$`` speaks of
    the whole text, so that a streamed answer is judged at its end."""

    patterns: Annotated[list[str], Meta(min_length=1, max_length=256)]
    action: Literal["block", "flag"] = "block"
    window: Annotated[int, Meta(ge=1, le=65_536)] = 512

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            try:
                _compiled(pattern)
            except PatternRefused as refused:
                raise ValueError(f"'patterns' holds {pattern!r}, which is refused: {refused}.") from None

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        if not final and self._anchored:
            return WAIT
        if not any(_compiled(pattern).found_in(text) for pattern in self.patterns):
            return ALLOW
        return BLOCK if self.action == "block" else FLAG

    @property
    def _anchored(self) -> bool:
        return any(_has_anchor(pattern) for pattern in self.patterns)

    @property
    def reach(self) -> int:
        """Characters of an answer that have to be seen together."""
        return WHOLE if self._anchored else self.window


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Pattern:
    return Pattern(pattern)


@lru_cache(maxsize=1024)
def _has_anchor(pattern: str) -> bool:
    return _anchors(parse(pattern))


def _anchors(node: Node) -> bool:
    if isinstance(node, Anchor):
        return True
    if isinstance(node, Sequence | Either):
        return any(_anchors(item) for item in node.items)
    return isinstance(node, Repeat) and _anchors(node.item)
