"""Phrases that must not pass, or not unchanged, in either direction."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

from gateway.guardrails.guardrail import Guardrail
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, WAIT, Direction, Scope, Verdict


class Blocklist(Guardrail, frozen=True, tag="blocklist", tag_field="type"):
    """``phrases`` are compared without regard to case or spacing.

    They match whole words ("art" is not in "chart"); any run of white space stands for a space, invisible
    characters count for nothing, and compatibility forms (full width, ligatures) are the plain character.
    ``rewrite`` puts ``replacement`` in a phrase's place.
    """

    phrases: list[str]
    action: Literal["block", "flag", "rewrite"] = "block"
    replacement: str = "***"

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        """Judges ``text`` in both directions. Unless ``final``, a phrase at its very end may still
        turn out to be part of a longer word: wait."""
        pattern = phrase_pattern(tuple(self.phrases))
        if pattern is None:
            return ALLOW
        folded = fold(text)
        verdict = ALLOW
        for found in pattern.finditer(folded):
            if final or found.end() < len(folded):
                return self._found(text, folded, pattern)
            verdict = WAIT
        return verdict

    def _found(self, text: str, folded: str, pattern: re.Pattern[str]) -> Verdict:
        if self.action != "rewrite":
            return BLOCK if self.action == "block" else FLAG
        spans = [one.span() for one in pattern.finditer(folded)]
        if not text.isascii():
            places = fold_places(text)
            if len(places) != len(folded) + 1:  # letters were put together in a way that nobody can follow
                return BLOCK
            spans = [(places[start][0], places[end - 1][1]) for start, end in spans]
        return Verdict("rewrite", tuple((*one, self.replacement) for one in spans))

    @property
    def scope(self) -> Scope:
        return "all"

    @property
    def changes_answers(self) -> bool:
        return self.action == "rewrite"

    def held(self, text: str) -> int:
        """From where a phrase may have begun; one that is whole waits for what ends its last word."""
        beginnings = phrase_beginnings(tuple(self.phrases))
        tail = text[-self.reach :]
        places: Sequence[int]
        said, places = (tail.lower(), range(len(tail))) if tail.isascii() else _spelt_out(tail)
        for found in _WORD_START.finditer(said):
            at = found.start()
            if said[at] in beginnings and _SPACES.sub(" ", said[at:]) in beginnings:
                return len(tail) - places[at]
        return 0

    @property
    def reach(self) -> int:
        """Characters of an answer that have to be seen together, with room for stretched spacing."""
        return 2 * max(map(len, self.phrases), default=0) + 64


_MARKS = str.maketrans("™℠", "  ")
"""Marks behind a name, of which compatibility makes letters of it."""


def fold(text: str) -> str:
    """Case, compatibility forms (NFKC) and invisible characters taken away."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text.translate(_MARKS)).casefold()
    return "".join(letter for letter in folded if unicodedata.category(letter) != "Cf")


def fold_places(text: str) -> list[tuple[int, int]]:
    """For each character of ``fold(text)`` where in ``text`` it comes from, and one more for its end. Folding makes
    two of a ligature, three of an ellipsis, and one of a letter and its accent. Empty when the pieces do not make up
    the whole."""
    places: list[tuple[int, int]] = []
    pieces: list[str] = []
    for start, end in _clusters(text):
        piece = fold(text[start:end])
        pieces.append(piece)
        places += [(start, end)] * len(piece)
    return [*places, (len(text), len(text))] if "".join(pieces) == fold(text) else []


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Letters with the marks that stand over them."""
    if text.isascii():
        yield from ((at, at + 1) for at in range(len(text)))
        return
    start = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or not unicodedata.combining(text[at]):
            yield start, at
            start = at


_WORD_START, _SPACES = re.compile(r"(?<!\w)\S"), re.compile(r"\s+")


@lru_cache(maxsize=4096)
def _spelt(letter: str) -> str:
    return unicodedata.normalize("NFD", fold(letter))


def _spelt_out(text: str) -> tuple[str, list[int]]:
    """``text`` folded, with accents beside their letters, and where each sign comes from."""
    pieces: list[str] = []
    places: list[int] = []
    for start, end in _clusters(text):
        piece = _spelt(text[start:end])
        pieces.append(piece)
        places += [start] * len(piece)
    return "".join(pieces), places


@lru_cache(maxsize=256)
def phrase_beginnings(phrases: tuple[str, ...]) -> frozenset[str]:
    """How a text may end that goes on to be one of the phrases, or is one."""
    spelt = [_spelt_out(" ".join(fold(phrase).split()))[0] for phrase in phrases]
    return frozenset(one[:end] for one in spelt for end in range(1, len(one) + 1))


@lru_cache(maxsize=256)
def phrase_pattern(phrases: tuple[str, ...]) -> re.Pattern[str] | None:
    words = [[re.escape(word) for word in fold(phrase).split()] for phrase in phrases]
    parts = [r"\s+".join(one) for one in words if one]
    return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)") if parts else None
