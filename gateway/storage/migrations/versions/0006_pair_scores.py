"""A pair keeps what the scorers said of it, because its texts do not stay."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pairs", sa.Column("scores", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("pairs", "scores")
