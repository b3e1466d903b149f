"""What learning asked of providers on each day (UTC), by purpose: the day's budgets are counted against it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlmodel import Field

from gateway.storage.tables.base import METADATA, Table


class DaySpendingRow(Table, table=True):
    """``day``: days since 1970; ``unpriced``: questions whose price nobody knows."""

    __tablename__ = "day_spending"
    day: int = Field(sa_column=sa.Column(sa.Integer(), primary_key=True, autoincrement=False))
    purpose: str = Field(primary_key=True)
    project: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    usd: float
    unpriced: int


DAY_SPENDING = METADATA.tables["day_spending"]
