"""Masking and rewriting in a streamed text: only as much stays behind as may still become part of a find."""

from __future__ import annotations

from collections.abc import Callable

from gateway.guardrails.verdict import Verdict, changed
from gateway.masking import Masker
from gateway.stages.guarding.request import Guards


class Changer:
    """One channel of an answer. ``judge(name, text, final)`` says what a guardrail says.

    What a guardrail finds is no longer than its ``reach``. So whatever began before the last ``reach`` characters
    is whole, and may go out changed. The characters before, already out, are kept for what a find leans on (word
    boundaries, words beside a number).
    """

    def __init__(self, guards: Guards, masker: Masker, judge: Callable[[str, str, bool], Verdict]) -> None:
        self._guards, self._masker, self._judge = guards, masker, judge
        self._reach = max((guard.reach for guard in guards.values()), default=0)
        self._before = ""
        self._held = ""

    def feed(self, text: str) -> str:
        """What may go out now."""
        if not self._guards:
            return text
        self._held += text
        return self._out(final=False) if len(self._held) > self._reach else ""

    def finish(self) -> str:
        """The rest."""
        return self._out(final=True) if self._held else ""

    def _out(self, *, final: bool) -> str:
        gone = len(self._before)
        seen = self._before + self._held
        cut = len(seen) if final else len(seen) - self._reach
        verdicts = [self._judge(name, seen, final) for name in self._guards]
        found = [one for one in verdicts if one.action in ("mask", "rewrite")]
        for start, end in sorted(((a, b) for one in found for a, b, _ in one.changes), reverse=True):
            if start < cut < end:
                cut = max(start, gone)
        kept = [Verdict(one.action, _between(one, gone, cut)) for one in found]
        self._masker.reserve(seen)
        out = changed(seen[gone:cut], [one for one in kept if one.changes], self._masker)
        self._held = seen[cut:]
        self._before = seen[max(0, cut - self._reach) : cut]
        return out


def _between(verdict: Verdict, start: int, end: int) -> tuple[tuple[int, int, str], ...]:
    """The changes within ``start`` and ``end``, counted from ``start``."""
    return tuple((a - start, b - start, what) for a, b, what in verdict.changes if start <= a and b <= end)
