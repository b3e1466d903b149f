"""What a guardrail says about a text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from gateway.masking import Masker, find

Direction = Literal["in", "out"]
Scope = Literal["all", "untrusted"]
"""Which texts of a request a guardrail reads; untrusted: not those of system and developer messages."""

Change = tuple[int, int, str]
"""(start, end, what): the kind of a placeholder for ``mask`` (``EMAIL``), or a placeholder (``[EMAIL_7]``); the new
text for ``rewrite``."""


class Verdict(Struct, frozen=True):
    """``flag``: recorded, and nothing else. ``wait``: a streamed text ends in what may become a violation;
    more of it has to be seen first.

    ``changes``: what ``mask`` or ``rewrite`` takes out, in order and without overlap. A ``mask`` without any stands
    for everything that ``gateway.masking.find`` finds.
    ``puts``: what a ``mask`` puts into a text's place for good, beside what can be undone.
    """

    action: Literal["allow", "flag", "mask", "rewrite", "block", "wait"]
    changes: tuple[Change, ...] = ()
    puts: tuple[Change, ...] = ()


ALLOW = Verdict("allow")
FLAG = Verdict("flag")
MASK = Verdict("mask")
BLOCK = Verdict("block")
WAIT = Verdict("wait")
SEVERITY = {"allow": 0, "wait": 0, "flag": 1, "rewrite": 2, "mask": 3, "block": 4}


def spelled_out(verdict: Verdict, text: str) -> Verdict:
    """``verdict`` with its changes; only a ``mask`` may leave them to :func:`gateway.masking.find`."""
    if verdict.action != "mask" or verdict.changes or verdict.puts:
        return verdict
    return Verdict("mask", tuple(find(text)))


def changed(text: str, verdicts: Iterable[Verdict], masker: Masker) -> str:
    """``text`` as it goes on after ``verdicts`` about it, spelled out; what was masked is in ``masker.values``.

    Where two overlap all of both is taken out, and a mask goes before a rewrite: its value can be put back."""
    spans: list[tuple[int, int, bool, str]] = []
    for verdict in verdicts:
        spans += [(start, end, verdict.action == "mask", what) for start, end, what in verdict.changes]
        spans += [(start, end, False, what) for start, end, what in verdict.puts]
    pieces: list[str] = []
    at = 0
    for start, end, to_mask, what in _apart(spans):
        pieces += (text[at:start], masker.placeholder(what, text[start:end]) if to_mask else what)
        at = end
    return "".join((*pieces, text[at:]))


def _apart(spans: list[tuple[int, int, bool, str]]) -> list[tuple[int, int, bool, str]]:
    kept: list[tuple[int, int, bool, str]] = []
    for start, end, to_mask, what in sorted(spans):
        if kept and start < kept[-1][1]:
            before = kept[-1]
            kind = (to_mask, what) if to_mask and not before[2] else before[2:]
            kept[-1] = (before[0], max(before[1], end), *kind)
        else:
            kept.append((start, end, to_mask, what))
    return kept
