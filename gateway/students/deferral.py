"""Which slice of its student a call belongs to, and whether that slice stays with the teacher."""

from __future__ import annotations

from gateway.context import Exchange
from gateway.protocol.asked import asked_of
from optimizer.rollout import Student
from optimizer.slices import slice_of


def slice_name(exchange: Exchange, student: Student, answer: str | None) -> str | None:
    """ "" for a student without slices; None when the slice depends on an ``answer`` that is not known yet."""
    if not student.slices:
        return ""
    return slice_of(
        student.slices,
        metadata=exchange.request.metadata or {},
        text=asked_of(exchange.request.messages),
        answer=answer,
    )


def deferred(exchange: Exchange, student: Student, answer: str | None = None) -> str:
    """Why the call stays with the teacher; "" when its slice is the student's, or cannot be told yet."""
    if not student.deferred:
        return ""
    name = slice_name(exchange, student, answer)
    return (
        f"the slice '{name}' stays with the teacher, as the certificate says"
        if name in student.deferred
        else ""
    )
