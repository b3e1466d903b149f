"""A batch knows the model that all its lines name, and what its answers used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("model", sa.String(), nullable=True))
    op.add_column("batches", sa.Column("usage", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("batches", "usage")
    op.drop_column("batches", "model")
