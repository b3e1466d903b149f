"""Files and batches; a call knows the batch it was a line of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0004"
branch_labels = None
depends_on = None

_BATCH_TIMES = (
    "in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at",
)  # fmt: skip


def _strings(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(), nullable=nullable) for name in names]


def upgrade() -> None:
    op.add_column("calls", sa.Column("batch", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "files",
        *_strings("id", "project", "key_id", "filename", "purpose"),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_files_listing", "files", ["project", "created_at", "id"])
    op.create_index("ix_files_expiry", "files", ["expires_at"])
    op.create_table(
        "batches",
        *_strings("id", "project", "key_id", "endpoint", "completion_window", "input_file_id"),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        *_strings("status"),
        *_strings("output_file_id", "error_file_id", nullable=True),
        sa.Column("output_expires_s", sa.Integer(), nullable=True),
        sa.Column("errors", sa.Text(), nullable=False),
        sa.Column("metadata_json", sa.Text(), nullable=False),
        *[sa.Column(name, sa.Float(), nullable=True) for name in _BATCH_TIMES],
        *[sa.Column(name, sa.Integer(), nullable=False) for name in ("total", "completed", "failed")],
        *_strings("worker"),
        sa.Column("heartbeat_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_batches_listing", "batches", ["project", "created_at", "id"])
    op.create_index("ix_batches_status", "batches", ["status", "created_at"])


def downgrade() -> None:
    op.drop_table("batches")
    op.drop_table("files")
    op.drop_column("calls", "batch")
