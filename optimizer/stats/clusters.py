"""Calls of one session depend on each other: a session is one piece of evidence, whatever its size."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

CLOSED_AFTER = 50
"""A session is over once this many calls of others came after its last one."""


class Clustered(Struct, frozen=True):
    """``means``: the share that agreed of each finished session, in the order in which they finished.

    ``finished``: the same as (agreed, calls); of scores, (their sum, calls). ``waiting`` calls belong to sessions
    that are not over yet, ``late`` ones came after their session had been counted (or repeat a call) and are
    left out.
    """

    means: tuple[float, ...]
    finished: tuple[tuple[float, int], ...]
    waiting: int
    late: int


def by_session(calls: Iterable[tuple[str, str, float]], closed_after: int = CLOSED_AFTER) -> Clustered:
    """Groups (call, session, agree) in call order; a score in [0, 1] may stand for ``agree``. An empty session, or
    the call's own name, stands alone.

    Each session enters an e-process once, when it is over, so that the evidence is a fixed sequence that only
    grows: means that still change would not be anytime-valid. When a session ends depends on the arrival of
    calls and never on whether they agreed.
    """
    finished: list[tuple[float, int]] = []
    open_sessions: dict[str, tuple[float, int, int]] = {}  # agreed, calls, position of the last; oldest first
    seen: set[str] = set()
    closed: set[str] = set()
    late = position = 0
    for call, session, agree in calls:
        if call in seen or session in closed:
            late += 1
            continue
        seen.add(call)
        position += 1
        while open_sessions:
            oldest = next(iter(open_sessions))
            if position - open_sessions[oldest][2] <= closed_after:
                break
            finished.append(open_sessions.pop(oldest)[:2])
            closed.add(oldest)
        if session in ("", call):
            finished.append((agree + 0, 1))
        elif session in closed:  # this very call came one too late
            late += 1
        else:
            agreed, size, _ = open_sessions.pop(session, (0, 0, 0))
            open_sessions[session] = (agreed + agree, size + 1, position)
    return Clustered(
        means=tuple(agreed / size for agreed, size in finished),
        finished=tuple(finished),
        waiting=sum(size for _, size, _ in open_sessions.values()),
        late=late,
    )
