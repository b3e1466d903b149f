"""What guardrails found, with a masked sample."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "incidents",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        *(
            sa.Column(name, sa.String(), nullable=False)
            for name in (
                "call_id", "project", "key_id", "model_asked", "endpoint", "guardrail", "action", "direction",
            )
        ),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("shadow", sa.Boolean(), nullable=False),
        sa.Column("sample", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )  # fmt: skip
    op.create_index("ix_incidents_project", "incidents", ["project", "id"])
    op.create_index("ix_incidents_call", "incidents", ["call_id"])
    op.create_index("ix_incidents_at", "incidents", ["at"])


def downgrade() -> None:
    op.drop_table("incidents")
