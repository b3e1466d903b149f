"""What a guardrail says about a text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from gateway.texts.json_places import Edit
from gateway.texts.masking import Masker, find

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
    for everything that ``gateway.texts.masking.find`` finds.
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
    """``verdict`` with its changes; only a ``mask`` may leave them to :func:`gateway.texts.masking.find`."""
    if verdict.action != "mask" or verdict.changes or verdict.puts:
        return verdict
    return Verdict("mask", tuple(find(text)))


def changed(
    text: str, verdicts: Iterable[Verdict], masker: Masker, *, in_json: bool | None = None, inside: bool = False
) -> str:
    """``text`` as it goes on after ``verdicts`` about it, spelled out; what was masked is in ``masker.values``.
    ``in_json``: whether it is JSON, or a piece of it that begins ``inside`` a string; None: look.

    Where two overlap all of both is taken out, and a mask goes before a rewrite: its value can be put back."""
    spans: list[Edit] = []
    for verdict in verdicts:
        spans += [(start, end, verdict.action == "mask", what) for start, end, what in verdict.changes]
        spans += [(start, end, False, what) for start, end, what in verdict.puts]
    return masker.written(text, _apart(spans), in_json=in_json, inside=inside)


def taken_out(verdicts: Iterable[Verdict]) -> list[tuple[int, int]]:
    """Where :func:`changed` takes something out, in order and without overlap."""
    every = [(start, end, False, "") for one in verdicts for start, end, _ in (*one.changes, *one.puts)]
    return [(start, end) for start, end, _, _ in _apart(every)]


def _apart(spans: list[Edit]) -> list[Edit]:
    kept: list[Edit] = []
    for start, end, to_mask, what in sorted(spans):
        if kept and start < kept[-1][1]:
            before = kept[-1]
            kind = (to_mask, what) if to_mask and not before[2] else before[2:]
            kept[-1] = (before[0], max(before[1], end), *kind)
        else:
            kept.append((start, end, to_mask, what))
    return kept
