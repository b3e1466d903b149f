"""Limits, budgets and rotation of keys; a call's metadata beside the ledger, to tell costs by it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("tokens_per_minute", sa.BigInteger()),
    ("concurrency", sa.Integer()),
    ("budget_usd_day", sa.Float()),
    ("budget_usd_month", sa.Float()),
    ("previous_digest", sa.String()),
    ("previous_until", sa.Float()),
)


def upgrade() -> None:
    for name, kind in _COLUMNS:
        op.add_column("api_keys", sa.Column(name, kind, nullable=True))
    op.create_index("ix_calls_key", "calls", ["key_id", "created_at"])
    op.create_table(
        "call_tags",
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["call_id"], ["calls.id"]),
        sa.PrimaryKeyConstraint("call_id", "name"),
    )
    op.create_index("ix_call_tags_name", "call_tags", ["name", "call_id"])


def downgrade() -> None:
    op.drop_table("call_tags")
    op.drop_index("ix_calls_key", "calls")
    with op.batch_alter_table("api_keys") as keys:
        for name, _ in _COLUMNS:
            keys.drop_column(name)
