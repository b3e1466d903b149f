"""What clients think of their calls, in the log and, as a score, on the captured call where curation looks for it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from gateway.storage.records import FeedbackRecord
from gateway.storage.rows import storable, to_json
from gateway.storage.tables import CALLS, CAPTURE_METADATA, CAPTURES, FEEDBACK_LOG
from gateway.storage.writing.truths import hold
from gateway.texts.masking import mask

SCORE = "feedback.score"


def add_to_session(connection: sa.Connection, record: FeedbackRecord) -> None:
    """To every call of the project's session that is known by now."""
    mine = (CALLS.c.project == record.project, CALLS.c.session == record.session)
    for call_id in list(connection.execute(sa.select(CALLS.c.id).where(*mine)).scalars()):
        _add(connection, record, call_id, "feedback.session")


def add_to_call(connection: sa.Connection, record: FeedbackRecord, call_id: str) -> None:
    """The caller has seen to it that the call is of the record's project."""
    _add(connection, record, call_id, "feedback")
    if "correction" in record.texts:
        hold(connection, call_id)


def _add(connection: sa.Connection, record: FeedbackRecord, call_id: str, prefix: str) -> None:
    """``prefix`` of texts: what is said of a whole session is no single call's right answer."""
    captured = connection.execute(
        sa.select(CAPTURES.c.metadata_json).where(
            CAPTURES.c.call_id == call_id, CAPTURES.c.erased_at.is_(None)
        )
    ).first()
    said = {} if record.score is None else {SCORE: f"{record.score:g}"}
    if captured is not None:
        said |= {f"{prefix}.{name}": mask(text).text for name, text in record.texts.items()}
    for name, value in said.items():
        row = {"call_id": call_id, "project": record.project, "actor": record.actor, "at": record.at}
        connection.execute(sa.insert(FEEDBACK_LOG).values(**storable(row | {"name": name, "value": value})))
    if captured is None or record.score is None:
        return
    metadata = msgspec.json.decode(captured.metadata_json, type=dict[str, str]) | {SCORE: said[SCORE]}
    connection.execute(
        sa.update(CAPTURES).where(CAPTURES.c.call_id == call_id).values(metadata_json=to_json(metadata))
    )
    here = (CAPTURE_METADATA.c.call_id == call_id, CAPTURE_METADATA.c.name == SCORE)
    connection.execute(sa.delete(CAPTURE_METADATA).where(*here))
    entry = {"call_id": call_id, "name": SCORE, "value": said[SCORE]}
    connection.execute(sa.insert(CAPTURE_METADATA).values(**storable(entry)))


def erase_texts(connection: sa.Connection, call_ids: Sequence[str]) -> None:
    """What was written about calls goes with their text, whatever its name; the scores stay."""
    texts = (FEEDBACK_LOG.c.call_id.in_(call_ids), FEEDBACK_LOG.c.name != SCORE)
    connection.execute(sa.delete(FEEDBACK_LOG).where(*texts))
