"""A client's correction as the truth of its call: both answers of the call's pairs are held against it.

It counts from the key that made the call alone, so whoever may not be most of the evidence may not correct most of it
either; and the first one counts, so that nobody can change what was counted.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from gateway.storage.rows import to_json
from gateway.storage.tables import FEEDBACK_LOG, PAIRS
from optimizer.gates.truth import HOURS, STUDENT, TEACHER
from optimizer.scorers import agrees
from optimizer.scorers.structured import parsed

CORRECTION = "feedback.correction"


def hold(connection: sa.Connection, call_id: str) -> None:
    """Scores the call's pairs by the call's first correction, whichever of them came first; once."""
    said = connection.execute(
        sa.select(FEEDBACK_LOG.c.value, FEEDBACK_LOG.c.actor, FEEDBACK_LOG.c.at)
        .where(FEEDBACK_LOG.c.call_id == call_id, FEEDBACK_LOG.c.name == CORRECTION)
        .order_by(FEEDBACK_LOG.c.id)
    ).all()
    if not said:
        return
    for pair in connection.execute(sa.select(PAIRS).where(PAIRS.c.call_id == call_id)).all():
        scores = msgspec.json.decode(pair.scores, type=dict[str, float]) if pair.scores else {}
        own = next((one for one in said if one.actor == pair.principal.partition("/")[0]), None)
        if own is None or HOURS in scores or not (pair.teacher_text or pair.student_text):
            continue
        scores |= {
            STUDENT: float(same(own.value, pair.student_text)),
            TEACHER: float(same(own.value, pair.teacher_text)),
            HOURS: max(0.0, own.at - pair.created_at) / 3600,
        }
        changed = sa.update(PAIRS).where(PAIRS.c.seq == pair.seq).values(scores=to_json(scores))
        connection.execute(changed)


def same(correction: str, answer: str) -> bool:
    """As people write: objects and lists by value, all else but for case, spaces and final punctuation."""
    structured = isinstance(parsed(correction), dict | list)
    return agrees("json" if structured else "folded", answer, correction)
