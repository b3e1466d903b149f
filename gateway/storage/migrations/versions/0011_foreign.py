"""Captured calls that this gateway did not answer: where they came from, and answers that were found worse."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("captures", sa.Column("source", sa.String(), nullable=False, server_default=""))
    op.add_column("captures", sa.Column("rejected", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("captures", "rejected")
    op.drop_column("captures", "source")
