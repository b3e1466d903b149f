"""Phrases that must not pass in either direction."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from msgspec import Struct

from gateway.guardrails.verdict import ALLOW, BLOCK, WAIT, Direction, Scope, Verdict


class Blocklist(Struct, frozen=True, tag="blocklist", tag_field="type", forbid_unknown_fields=True):
    """``phrases`` are compared without regard to case or spacing.

    They match whole words ("art" is not in "chart"); any run of white space stands for a space, invisible
    characters count for nothing, and compatibility forms (full width, ligatures) are the plain character.
    """

    phrases: list[str]

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        """Blocks ``text`` in both directions. Unless ``final``, a phrase at its very end may still
        turn out to be part of a longer word: wait."""
        pattern = _pattern(tuple(self.phrases))
        if pattern is None:
            return ALLOW
        folded = fold(text)
        verdict = ALLOW
        for found in pattern.finditer(folded):
            if final or found.end() < len(folded):
                return BLOCK
            verdict = WAIT
        return verdict

    @property
    def scope(self) -> Scope:
        return "all"

    @property
    def reach(self) -> int:
        """Characters of an answer that have to be seen together, with room for stretched spacing."""
        return 2 * max(map(len, self.phrases), default=0) + 64


def fold(text: str) -> str:
    """Case, compatibility forms (NFKC) and invisible characters taken away."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in folded if unicodedata.category(letter) != "Cf")


@lru_cache(maxsize=256)
def _pattern(phrases: tuple[str, ...]) -> re.Pattern[str] | None:
    words = [[re.escape(word) for word in fold(phrase).split()] for phrase in phrases]
    parts = [r"\s+".join(one) for one in words if one]
    return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)") if parts else None
