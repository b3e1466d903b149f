"""Erasing text: on request, and when its retention has run out. What stays is a salted hash and the ledger."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from gateway.storage.client_state import forget_expired
from gateway.storage.incidents import erase_samples, forget_old
from gateway.storage.tables import CAPTURE_METADATA, CAPTURES, PAIRS, TASK_VERSIONS
from gateway.storage.tags import erase_tags
from gateway.storage.writing.feedback import erase_texts
from gateway.storage.writing.journal import salt_of

_DAY_S = 86_400.0
PAIR_RETENTION_DAYS = 30  # of a pair whose call was not captured


def erase(connection: sa.Connection, call_ids: Sequence[str], at: float) -> int:
    """Erases the text of these calls wherever it stands. → how many captures were erased."""
    rows = connection.execute(
        sa.select(CAPTURES).where(CAPTURES.c.call_id.in_(call_ids), CAPTURES.c.erased_at.is_(None))
    ).mappings().all()  # fmt: skip
    salt = salt_of(connection)
    gone: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        gone[row["project"], row["task"], row["fingerprint"]] += bool(row["lesson"]) and not row["source"]
        tombstone = hashlib.sha256(
            f"{salt}\n{row['last_user_text']}\n{row['answer_text']}".encode()
        ).hexdigest()
        connection.execute(
            sa.update(CAPTURES).where(CAPTURES.c.call_id == row["call_id"]).values(
                request=None, answer=None, last_user_text="", answer_text="", metadata_json="{}", end_user="",
                group_id="", lesson=False, erased_at=at, tombstone=tombstone, rejected="",
                label="", votes=0, judged=False,
            )
        )  # fmt: skip
    connection.execute(sa.delete(CAPTURE_METADATA).where(CAPTURE_METADATA.c.call_id.in_(call_ids)))
    erase_tags(connection, call_ids)
    erase_samples(connection, call_ids)
    erase_texts(connection, call_ids)
    _blank_pairs(connection, PAIRS.c.call_id.in_(call_ids))
    for (project, task, fingerprint), count in gone.items():
        table = TASK_VERSIONS.c
        scope = (table.project == project, table.task == task, table.fingerprint == fingerprint)
        connection.execute(
            sa.update(TASK_VERSIONS).where(*scope).values(trainable_calls=table.trainable_calls - count)
        )
    return len(rows)


def erase_expired(connection: sa.Connection, now: float, limit: int = 500) -> int:
    """Erases up to ``limit`` captures whose retention has run out. → how many; call again while it is
    ``limit``, so that no transaction grows long."""
    expired = sa.select(CAPTURES.c.call_id).where(
        CAPTURES.c.expires_at <= now, CAPTURES.c.erased_at.is_(None)
    )
    ids = list(connection.execute(expired.limit(limit)).scalars())
    if ids:
        erase(connection, ids, now)
    kept = sa.exists().where(CAPTURES.c.call_id == PAIRS.c.call_id)
    forget_expired(connection, now)
    forget_old(connection, now)
    _blank_pairs(connection, PAIRS.c.created_at <= now - PAIR_RETENTION_DAYS * _DAY_S, ~kept)
    return len(ids)


def _blank_pairs(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> None:
    holds_text = sa.or_(PAIRS.c.teacher_text != "", PAIRS.c.student_text != "")
    connection.execute(sa.update(PAIRS).where(*where, holds_text).values(teacher_text="", student_text=""))
