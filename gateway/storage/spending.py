"""What a day of asking has cost so far, over all processes: added up where records are ingested, read by budgets."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from msgspec import Struct

from gateway.storage.rows import storable
from gateway.storage.tables.spending import DAY_SPENDING
from gateway.storage.upserts import adding

DAY_S = 86_400
_KEY, _SUMS = ("day", "purpose", "project", "task"), ("usd", "unpriced")
Purpose = Literal["ensemble", "judge", "shadow"]


class Spent(Struct, frozen=True):
    purpose: str
    project: str
    task: str
    usd: float
    unpriced: int


def spend(
    connection: sa.Connection, purpose: Purpose, project: str, task: str, at: float, usd: float | None
) -> None:
    """``usd`` None: nobody knows the price."""
    row = storable({
        "day": int(at // DAY_S), "purpose": purpose, "project": project, "task": task, "usd": usd or 0.0,
        "unpriced": int(usd is None),
    })  # fmt: skip
    connection.execute(adding(connection.dialect.name, DAY_SPENDING, _KEY, _SUMS), row)


class SpendingQueries:
    _engine: sa.Engine

    def spent_on_day(self, now: float) -> list[Spent]:
        """Of the day (UTC) that ``now`` falls into."""
        table = DAY_SPENDING.c
        columns = [table[name] for name in Spent.__struct_fields__]
        query = sa.select(*columns).where(table.day == int(now // DAY_S))
        with self._engine.connect() as connection:
            return [Spent(**row) for row in connection.execute(query).mappings()]
