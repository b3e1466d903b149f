"""What guardrails said, sealed: a line of the journal names how many verdicts came and the hash over all of them.

One line seals what has come since the last one, so that the journal grows with time and not with calls. The hash
leaves out the sample, which is text and goes when it must; the rest of a verdict stays for as long as incidents do.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from gateway.storage.incidents import RETENTION_S
from gateway.storage.records import spelled
from gateway.storage.tables import CALLS, INCIDENTS, JOURNAL
from gateway.storage.writing.journal import append_journal

KIND: Final = "verdicts"
EVERY_S = 300.0
"""Between two seals."""
AT_ONCE = 10_000
"""Verdicts under one seal, so that no transaction grows long."""
_SEALED = (
    "call_id", "at", "project", "key_id", "model_asked", "endpoint", "guardrail", "action", "direction", "shadow",
)  # fmt: skip
_COLUMNS = [INCIDENTS.c[name] for name in _SEALED]


def digest_of(rows: Sequence[Sequence[Any]]) -> str:
    """The hex SHA-256 over the canonical JSON of ``_SEALED``'s columns, a line for each verdict, in order."""
    return hashlib.sha256(b"\n".join(msgspec.json.encode(list(row)) for row in rows)).hexdigest()


def seal(connection: sa.Connection, now: float) -> int:
    """Seals up to ``AT_ONCE`` verdicts that no line seals yet. → how many; without any nothing is written."""
    fresh = sa.select(INCIDENTS.c.id, *_COLUMNS).where(INCIDENTS.c.sealed == 0).order_by(INCIDENTS.c.id)
    found = connection.execute(fresh.limit(AT_ONCE)).all()
    if not found:
        return 0
    rows = [tuple(row)[1:] for row in found]
    times = [row.at for row in found]
    said = Counter(spelled(row.guardrail, row.action, row.shadow) for row in found)
    epoch = append_journal(
        connection, KIND, at=now, actor="ingester", subject="guardrails", action="verdicts sealed",
        detail={
            "count": len(rows), "digest": digest_of(rows), "said": dict(said),
            "oldest": min(times), "newest": max(times),
        },
    )  # fmt: skip
    last = found[-1].id
    connection.execute(
        sa.update(INCIDENTS).where(INCIDENTS.c.sealed == 0, INCIDENTS.c.id <= last).values(sealed=epoch)
    )
    return len(rows)


class SealQueries:
    _engine: sa.Engine

    def verify_verdicts(self, *, now: float, newest: int | None = None) -> int | None:
        """The oldest line whose verdicts are not those that it sealed; None when all hold. ``newest``: only so many
        lines are looked at (None: all).

        Verdicts must neither be missing nor changed nor more than were sealed, and each must still stand on its
        call. Lines with a verdict so old that it may have been forgotten are passed over.
        """
        seals = sa.select(JOURNAL.c.epoch, JOURNAL.c.detail).where(JOURNAL.c.kind == KIND)
        with self._engine.begin() as connection:  # one consistent view
            found = connection.execute(seals.order_by(JOURNAL.c.epoch.desc()).limit(newest)).all()
            broken = [row.epoch for row in found if not _holds(connection, row.epoch, row.detail, now)]
            if newest is None and (stray := _stray(connection)) is not None:
                broken.append(stray)
        return min(broken, default=None)


def _stray(connection: sa.Connection) -> int | None:
    """The number that a verdict names as its seal, and that is none."""
    seals = sa.select(JOURNAL.c.epoch).where(JOURNAL.c.kind == KIND)
    none = sa.and_(INCIDENTS.c.sealed != 0, INCIDENTS.c.sealed.not_in(seals))
    found = connection.execute(sa.select(sa.func.min(INCIDENTS.c.sealed)).where(none)).scalar()
    return None if found is None else int(found)


def _holds(connection: sa.Connection, epoch: int, detail: str, now: float) -> bool:
    told = msgspec.json.decode(detail)
    if told["oldest"] <= now - RETENTION_S:
        return True
    of_call = INCIDENTS.outerjoin(CALLS, CALLS.c.id == INCIDENTS.c.call_id)
    query = sa.select(*_COLUMNS, CALLS.c.verdicts).select_from(of_call).where(INCIDENTS.c.sealed == epoch)
    found = connection.execute(query.order_by(INCIDENTS.c.id)).all()
    if len(found) != told["count"] or digest_of([tuple(row)[:-1] for row in found]) != told["digest"]:
        return False
    return all(
        row.verdicts is None
        or spelled(row.guardrail, row.action, row.shadow) in msgspec.json.decode(row.verdicts)
        for row in found
    )
