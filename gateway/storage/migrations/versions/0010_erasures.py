"""People can be erased: who was, which stored documents are whose, and how much of a dataset is gone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_GONE = sa.text("erased_at IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("texts", sa.Integer(), nullable=False),
    )
    op.create_index("ix_erasures_at", "erasures", ["at"])
    op.create_table(
        "dataset_erasures",
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("requested", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
    )
    op.add_column("client_state", sa.Column("owner", sa.String(), nullable=False, server_default=""))
    op.create_index(
        "ix_captures_erased", "captures", ["erased_at"], sqlite_where=_GONE, postgresql_where=_GONE
    )


def downgrade() -> None:
    op.drop_index("ix_captures_erased", "captures")
    op.drop_column("client_state", "owner")
    op.drop_table("dataset_erasures")
    op.drop_table("erasures")
