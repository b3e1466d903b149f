"""Alembic's entry point; ``gateway.storage.migrations.migrate`` hands it an open transaction."""

from __future__ import annotations

from alembic import context

from gateway.storage.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    transactional_ddl=False,  # the caller's transaction covers everything
)
context.run_migrations()
