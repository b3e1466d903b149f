"""Rows that add to what is stored under their key: one statement for many of them, put together once."""

from __future__ import annotations

from functools import cache

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


@cache
def adding(dialect: str, table: sa.Table, key: tuple[str, ...], sums: tuple[str, ...]) -> sa.Insert:
    """Inserts rows of ``key`` and ``sums``; where a key is there already, its sums grow. ``dialect``: a connection's
    own name for its database. Kept, because to put such a statement together costs more than to execute it."""
    insert = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    grown = {name: table.c[name] + insert.excluded[name] for name in sums}
    added: sa.Insert = insert.on_conflict_do_update(index_elements=list(key), set_=grown)
    return added
