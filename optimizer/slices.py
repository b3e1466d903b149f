"""Slices: parts of a task's traffic that are judged, and served, each by itself.

A student carries its slices from birth, so that their meaning cannot change under its evidence. A call belongs to the
first slice that fits, else to ``REST``: the slices are disjoint, and together with the rest they are everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from optimizer.clusters import nearest
from optimizer.languages import language

FOUND = "cluster-"
"""How the names of slices begin that were found."""
REST = "rest"
"""What no declared slice fits."""

Characters = Annotated[int, Meta(ge=0)]


class Slice(Struct, frozen=True, forbid_unknown_fields=True):
    """Every field that is given must hold. ``metadata``: the call's own, ``*`` for any value. Lengths are characters
    of the last user text. ``language``: ISO 639-1 codes. ``answer``: what the student says; only known afterwards.
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    metadata: dict[str, str] = {}
    min_chars: Characters | None = None
    max_chars: Characters | None = None
    language: tuple[str, ...] = ()
    answer: tuple[str, ...] = ()
    centroid: dict[str, float] | UnsetType = UNSET
    """Of a cluster that was found (``optimizer.clusters``): the call is nearer to it than to any other of them."""

    @property
    def says_something(self) -> bool:
        """Whether any condition is given: a slice without one would be everything."""
        lengths = self.min_chars is not None or self.max_chars is not None
        return bool(self.metadata or self.language or self.answer or self.centroid or lengths)


def slice_of(
    slices: Sequence[Slice], *, metadata: Mapping[str, str], text: str, answer: str | None
) -> str | None:
    """The name of the slice a call belongs to; None when that depends on an ``answer`` that is not known yet."""
    spoken: str | None = None
    near: Slice | None = None
    found = [one for one in slices if one.centroid]
    for one in slices:
        if not _fits(one, metadata, len(text)):
            continue
        if one.centroid:
            near = near if near is not None else _nearest(found, text)
            if one is not near:
                continue
        if one.language:
            spoken = language(text) if spoken is None else spoken
            if spoken not in one.language:
                continue
        if not one.answer:
            return one.name
        if answer is None:
            return None
        if answer in one.answer:
            return one.name
    return REST


def _nearest(found: Sequence[Slice], text: str) -> Slice | None:
    at = nearest([one.centroid or {} for one in found], text)
    return None if at is None else found[at]


def parts(slices: Sequence[Slice]) -> tuple[str, ...]:
    """The names of all parts of the traffic; () when none is declared."""
    return (*(one.name for one in slices), REST) if slices else ()


def _fits(one: Slice, metadata: Mapping[str, str], length: int) -> bool:
    return (
        all(
            metadata.get(name) == value or (value == "*" and name in metadata)
            for name, value in one.metadata.items()
        )
        and (one.min_chars is None or length >= one.min_chars)
        and (one.max_chars is None or length <= one.max_chars)
    )
