"""Which line of the journal seals a verdict."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("incidents", sa.Column("sealed", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("ix_incidents_sealed", "incidents", ["sealed", "id"])


def downgrade() -> None:
    op.drop_index("ix_incidents_sealed", "incidents")
    op.drop_column("incidents", "sealed")
