"""Masking and rewriting in a streamed text: only as much stays behind as may still become part of a find."""

from __future__ import annotations

from collections.abc import Callable

from gateway.guardrails.verdict import Verdict, changed
from gateway.stages.guarding.request import Guards
from gateway.texts.escapes import meanings
from gateway.texts.json_places import bare_start, ends_inside
from gateway.texts.masking import Masker

_ESCAPING = "\\&%"
_LONGEST_BARE = 256  # characters: a longer number is not waited for


class Changer:
    """One channel of an answer. ``judge(name, text, final)`` says what a guardrail says. ``in_json``: it is JSON.

    What a guardrail finds is no longer than its ``reach``, counted in characters that are meant: an escape is one. So
    whatever began before the last ``reach`` of them is whole, and may go out changed; where nothing is escaped, a
    guardrail says itself how much of the end may still become a find. The characters before, already
    out, are kept for what a find leans on (word boundaries, words beside a number).
    """

    def __init__(
        self, guards: Guards, masker: Masker, judge: Callable[[str, str, bool], Verdict], *, in_json: bool = False
    ) -> None:
        self._guards, self._masker, self._judge, self._in_json = guards, masker, judge, in_json
        self._reach = max((guard.reach for guard in guards.values()), default=0)
        self._before = ""
        self._held = ""
        self._inside = False
        """Whether what is held begins within a string of JSON."""

    def feed(self, text: str) -> str:
        """What may go out now."""
        if not self._guards:
            return text
        self._held += text
        return self._out(final=False) if self._held else ""

    def finish(self) -> str:
        """The rest."""
        return self._out(final=True) if self._held else ""

    def _out(self, *, final: bool) -> str:
        gone = len(self._before)
        seen = self._before + self._held
        cut = len(seen) if final else self._settled(seen)
        if cut <= gone:
            return ""
        verdicts = [self._judge(name, seen, final) for name in self._guards]
        found = [one for one in verdicts if one.action in ("mask", "rewrite")]
        spans = [(a, b) for one in found for a, b, _ in (*one.changes, *one.puts)]
        for start, end in sorted(spans, reverse=True):
            if start < cut < end:
                cut = max(start, gone)
        if self._in_json and not final:
            start = gone + bare_start(seen[gone:], cut - gone, inside=self._inside)
            cut = start if cut - start <= _LONGEST_BARE else cut
        return self._changed(seen, gone, cut, found)

    def _settled(self, seen: str) -> int:
        """Where what may still become part of a find begins. An escape, or half of one, may spell any of it."""
        if any(sign in seen for sign in _ESCAPING):
            return behind(seen, len(seen), self._reach)
        return len(seen) - max(min(guard.held(seen), guard.reach) for guard in self._guards.values())

    def _changed(self, seen: str, gone: int, cut: int, found: list[Verdict]) -> str:
        """What leaves of ``seen``, from ``gone`` to ``cut``; the rest is held."""
        out = new = seen[gone:cut]
        self._masker.reserve(seen)
        if found:
            kept = [_between(one, gone, cut) for one in found]
            new = changed(out, kept, self._masker, in_json=self._in_json, inside=self._inside)
        if self._in_json:
            self._inside = ends_inside(out, inside=self._inside)
        self._held = seen[cut:]
        self._before = seen[behind(seen, cut, self._reach) : cut]
        return new


def behind(text: str, place: int, count: int) -> int:
    """Where in ``text`` the last ``count`` characters before ``place`` begin; an escape counts as the one it stands
    for, and is not cut."""
    read = meanings(text, final=False)
    if not read:
        return max(0, place - count)
    meant = read[-1]
    return meant.start(max(0, meant.read_at(place) - count))


def _between(verdict: Verdict, start: int, end: int) -> Verdict:
    """The changes within ``start`` and ``end``, counted from ``start``."""

    def kept(changes: tuple[tuple[int, int, str], ...]) -> tuple[tuple[int, int, str], ...]:
        return tuple((a - start, b - start, what) for a, b, what in changes if start <= a and b <= end)

    return Verdict(verdict.action, kept(verdict.changes), kept(verdict.puts))
