"""A call knows what its provider's own prompt cache took off its price."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calls", sa.Column("prompt_cache_usd", sa.Float(), nullable=True))


def downgrade() -> None:
    op.drop_column("calls", "prompt_cache_usd")
