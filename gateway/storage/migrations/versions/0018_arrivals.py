"""In which order calls came into the database, which is not the order in which they happened."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calls", sa.Column("arrival", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("ix_calls_arrival", "calls", ["project", "task", "arrival"])


def downgrade() -> None:
    op.drop_index("ix_calls_arrival", "calls")
    op.drop_column("calls", "arrival")
