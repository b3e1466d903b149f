"""The ledger rolled up: per ten seconds, project, task and answering party."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.storage.records import LATER_TURN, CallRecord, PairRecord, VoteRecord
from gateway.storage.rows import storable
from gateway.storage.tables import LEDGER_BUCKETS
from gateway.storage.upserts import adding
from gateway.storage.values import STEP_S, LedgerBucket

_KEY = ("start", "project", "task", "party")
_SUMS = tuple(name for name in LedgerBucket.__struct_fields__ if name not in _KEY)


class Buckets:
    """Sums of one batch, added to the stored ones in a single upsert."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, str, str, str], dict[str, float]] = {}

    def add_call(self, call: CallRecord) -> None:
        """A call is unpriced when somebody answered it and its price, or the teacher's for it, is unknown. A later turn
        of one request adds what it took, and is no call more."""
        unknown = call.cost_usd is None or (bool(call.task) and call.teacher_cost_usd is None)
        self._add(
            call.created_at, call.project, call.task, _party(call),
            calls=not call.id.startswith(LATER_TURN),
            errors=call.status in {"error", "upstream_cut"},
            cost_usd=call.cost_usd or 0.0,
            teacher_cost_usd=call.teacher_cost_usd or 0.0,
            unpriced=bool(call.provider or call.cache) and unknown,
            prompt_tokens=call.prompt_tokens,
            completion_tokens=call.completion_tokens,
        )  # fmt: skip

    def add_pair(self, pair: PairRecord) -> None:
        """What learning cost on top of the call: charged to the party that served it."""
        party = "student" if pair.kind in {"canary", "reask"} else "teacher"
        self._add(
            pair.created_at, pair.project, pair.task, party,
            extra_cost_usd=pair.extra_cost_usd or 0.0, unpriced=pair.extra_cost_usd is None,
        )  # fmt: skip

    def add_vote(self, vote: VoteRecord) -> None:
        """What asking the other teachers cost: charged to the teacher's side of the task."""
        self._add(
            vote.at, vote.project, vote.task, "teacher",
            extra_cost_usd=vote.extra_cost_usd or 0.0, unpriced=vote.extra_cost_usd is None,
        )  # fmt: skip

    def add_synthetic(self, call: CallRecord) -> None:
        """What a question for synthetic calls cost, charged likewise; it is nobody's call."""
        self._add(
            call.created_at, call.project, call.task, "teacher",
            extra_cost_usd=call.cost_usd or 0.0, unpriced=call.cost_usd is None,
        )  # fmt: skip

    def _add(self, at: float, project: str, task: str, party: str, **amounts: float) -> None:
        start = int(at // STEP_S) * STEP_S if math.isfinite(at) else 0
        sums = self._sums.setdefault((start, project, task, party), dict.fromkeys(_SUMS, 0))
        for name, amount in amounts.items():
            sums[name] += amount

    def store(self, connection: sa.Connection) -> None:
        rows = [storable(dict(zip(_KEY, key, strict=True)) | sums) for key, sums in self._sums.items()]
        if rows:
            connection.execute(adding(connection.dialect.name, LEDGER_BUCKETS, _KEY, _SUMS), rows)


def _party(call: CallRecord) -> str:
    if call.cache:
        return "cache"
    if call.student:
        return "student"
    return "teacher" if call.task and call.arm != "plain" else "plain"


def regrouped(since: float, bucket_s: int) -> sa.Select[Any]:
    """Sums in steps of ``bucket_s`` seconds, oldest first, from the step that holds ``since``; the database does
    the adding, so a page over a month reads a few hundred rows."""
    step = max(STEP_S, bucket_s)
    table = LEDGER_BUCKETS
    start = (table.c.start - table.c.start % step).label("start")
    keys = (start, table.c.project, table.c.task, table.c.party)
    sums = (sa.func.sum(table.c[name]).label(name) for name in _SUMS)
    query = sa.select(*keys, *sums).where(table.c.start >= int(since // step * step))
    return query.group_by(*keys).order_by(*keys)


def bucket_of(row: Any) -> LedgerBucket:
    """A row of :func:`regrouped`; PostgreSQL sums integers into decimals, so types are restored here."""
    return msgspec.convert({name: _plain(value) for name, value in row.items()}, LedgerBucket)


def _plain(value: Any) -> Any:
    if not isinstance(value, Decimal):
        return value
    return int(value) if value == value.to_integral_value() else float(value)
