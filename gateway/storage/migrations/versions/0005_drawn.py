"""A call knows who was drawn first, so that its propensity can be replayed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calls", sa.Column("drawn", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("calls", "drawn")
