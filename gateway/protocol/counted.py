"""Numbers with their nouns, as people are told them."""

from __future__ import annotations


def counted(number: float, noun: str, plural: str = "") -> str:
    """``number`` and ``noun``, which has its plural unless it is one."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {noun if number == 1 else plural or noun + 's'}"
