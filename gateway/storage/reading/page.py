"""Queries of the admin page: the ledger, the journal, and where student and teacher disagreed."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.storage.journal import first_break
from gateway.storage.reading.learning import PAIR_COLUMNS
from gateway.storage.rows import journal_of, pair_of
from gateway.storage.seals import KIND
from gateway.storage.tables import CAPTURES, JOURNAL, PAIRS
from gateway.storage.values import JournalEntry, LedgerBucket
from gateway.storage.writing.journal import journal_head
from gateway.storage.writing.ledger import bucket_of, regrouped


class PageQueries:
    _engine: sa.Engine

    def ledger(self, *, since: float, bucket_s: int) -> list[LedgerBucket]:
        """Sums per ``bucket_s`` seconds (ten at least), beginning with the bucket that holds ``since``."""
        with self._engine.connect() as connection:
            rows = connection.execute(regrouped(since, bucket_s)).mappings()
            return [bucket_of(row) for row in rows]

    def journal(self, *, limit: int = 100, kind: str | None = None, seals: bool = True) -> list[JournalEntry]:
        """Newest first. ``seals`` False: without the lines that only seal verdicts."""
        query = sa.select(JOURNAL).order_by(JOURNAL.c.epoch.desc()).limit(limit)
        if kind is not None:
            query = query.where(JOURNAL.c.kind == kind)
        if not seals:
            query = query.where(JOURNAL.c.kind != KIND)
        with self._engine.connect() as connection:
            return [journal_of(row) for row in connection.execute(query).mappings()]

    def verify_journal(self) -> int | None:
        """The epoch at which the hash chain breaks, a cut-off end included; None when it holds."""
        with self._engine.begin() as connection:
            head = journal_head(connection)
            rows = connection.execute(sa.select(JOURNAL).order_by(JOURNAL.c.epoch)).mappings()
            return first_break((journal_of(row) for row in rows), head=head)

    def disagreements(self, *, task: str, limit: int, before_seq: int | None) -> list[dict[str, Any]]:
        """Newest first: the pair's fields and ``input``, the masked last user text ("" once erased)."""
        where = [PAIRS.c.task == task, PAIRS.c.agree.is_(False), PAIRS.c.student != ""]
        if before_seq is not None:
            where.append(PAIRS.c.seq < before_seq)
        joined = PAIRS.outerjoin(CAPTURES, CAPTURES.c.call_id == PAIRS.c.call_id)
        asked = sa.func.coalesce(CAPTURES.c.last_user_text, "").label("input")
        query = sa.select(*PAIR_COLUMNS, asked).select_from(joined).where(*where)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(PAIRS.c.seq.desc()).limit(limit)).mappings()
            return [msgspec.structs.asdict(pair_of(row)) | {"input": row["input"]} for row in rows]
