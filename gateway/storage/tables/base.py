"""What every table is made of."""

from __future__ import annotations

import sqlalchemy as sa
from sqlmodel import SQLModel

Money = float | None


class Table(SQLModel):
    """Base of all tables, with a metadata of its own."""

    metadata = sa.MetaData()


def big(*, primary: bool = False) -> sa.types.TypeEngine[int]:
    """64 bits; a counting SQLite primary key must be declared INTEGER."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite") if primary else sa.BigInteger()


def counted() -> sa.Column[int]:
    return sa.Column(big(primary=True), primary_key=True, autoincrement=True)


def integer(*, default: int | None = None, nullable: bool = False) -> sa.Column[int]:
    server_default = None if default is None else str(default)
    return sa.Column(big(), nullable=nullable, server_default=server_default)


def text(*, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(sa.Text(), nullable=nullable)


METADATA = Table.metadata
