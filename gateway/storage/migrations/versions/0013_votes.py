"""What several teachers together said of a captured call."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("captures", sa.Column("label", sa.Text(), nullable=False, server_default=""))
    op.add_column("captures", sa.Column("label_share", sa.Float(), nullable=False, server_default="1"))
    op.add_column("captures", sa.Column("votes", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    for name in ("votes", "label_share", "label"):
        op.drop_column("captures", name)
