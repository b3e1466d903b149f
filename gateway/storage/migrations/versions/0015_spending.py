"""What a day of asking cost, by whom it was asked, so that a day's budget is one for all processes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "day_spending",
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("task", sa.String(), nullable=False),
        sa.Column("usd", sa.Float(), nullable=False),
        sa.Column("unpriced", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("day", "purpose", "project", "task"),
    )


def downgrade() -> None:
    op.drop_table("day_spending")
