"""Conditional rules: which policy a call falls under, by who asks, with what, and when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

Tokens = Annotated[int, Meta(ge=0)]
Clock = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ANY = "*"


class When(Struct, frozen=True, forbid_unknown_fields=True):
    """Every field that is given must hold; none holds always.

    ``metadata`` and ``header`` map names to a value, or to ``*`` for any; header names in lower case.
    ``key`` names or ids. Tokens are the estimated input. ``start``/``end`` are clock times in ``timezone``
    (start included, end not); a span whose end is before its start goes over midnight, and ``days`` are those on
    which it started.
    """

    metadata: dict[str, str] = {}
    header: dict[str, str] = {}
    key: list[str] = []
    project: list[str] = []
    min_tokens: Tokens | None = None
    max_tokens: Tokens | None = None
    start: Clock | None = None
    end: Clock | None = None
    days: list[Day] = []
    timezone: str = "UTC"

    @property
    def counts(self) -> bool:
        """Whether the request's tokens must be known."""
        return self.min_tokens is not None or self.max_tokens is not None


class Caller(Struct, frozen=True):
    """What rules look at. ``keys``: the id and the name of the caller's key; ``at``: unix seconds."""

    metadata: Mapping[str, str]
    headers: Mapping[str, str]
    keys: tuple[str, ...]
    project: str
    tokens: int
    at: float


def mismatch(when: When, caller: Caller) -> str:
    """The first thing that does not hold, in words; "" when all does."""
    for name, wanted in when.metadata.items():
        if not _equal(wanted, caller.metadata.get(name)):
            return f"metadata '{name}' is not '{wanted}'"
    for name, wanted in when.header.items():
        if not _equal(wanted, caller.headers.get(name.lower())):
            return f"header '{name}' is not '{wanted}'"
    if when.key and not set(when.key) & set(caller.keys):
        return "the key is another one"
    if when.project and caller.project not in when.project:
        return f"the project is '{caller.project}'"
    if when.min_tokens is not None and caller.tokens < when.min_tokens:
        return f"about {caller.tokens:,} tokens are fewer than {when.min_tokens:,}"
    if when.max_tokens is not None and caller.tokens > when.max_tokens:
        return f"about {caller.tokens:,} tokens are more than {when.max_tokens:,}"
    return "" if _now(when, caller.at) else "it is another time"


def _equal(wanted: str, found: str | None) -> bool:
    return found is not None and wanted in (ANY, found)


def _now(when: When, at: float) -> bool:
    if not when.days and when.start is None and when.end is None:
        return True
    local = datetime.fromtimestamp(at, _zone(when.timezone))
    today, minute = local.weekday(), local.hour * 60 + local.minute
    start, end = _minute(when.start, 0), _minute(when.end, 24 * 60)
    if start < end:
        inside = start <= minute < end
    else:  # over midnight: what is left of it in the morning belongs to yesterday
        inside = minute >= start or minute < end
        if minute < end:
            today = (today - 1) % 7
    return inside and (not when.days or DAYS[today] in when.days)


def _minute(clock: str | None, default: int) -> int:
    return default if clock is None else int(clock[:2]) * 60 + int(clock[3:])


@lru_cache(maxsize=128)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
