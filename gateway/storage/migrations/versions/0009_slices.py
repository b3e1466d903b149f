"""A student has slices, some of them deferred; a pair knows its slice and whose call it was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_STUDENTS = ("slices", "deferred")
_PAIRS = ("slice", "principal")


def upgrade() -> None:
    for name in _STUDENTS:
        op.add_column("students", sa.Column(name, sa.Text(), nullable=False, server_default="[]"))
    for name in _PAIRS:
        op.add_column("pairs", sa.Column(name, sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    for name in _PAIRS:
        op.drop_column("pairs", name)
    for name in _STUDENTS:
        op.drop_column("students", name)
