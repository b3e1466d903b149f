"""Schema migrations. ``migrate(url)`` brings a database up to this version and may run any number of times."""

from __future__ import annotations

import logging
from pathlib import Path

from gateway.storage.engine import allow, serialise_writes, write_engine

_LONGEST_S = 3600.0
_LOCK_S = 10.0
"""For another process that migrates: whoever waits longer tries again."""


def migrate(url: str) -> None:
    """Creates or upgrades the schema in one transaction, so that a crash leaves the old one.

    On SQLite the caller must be the database's writer (it holds ``writer.lock``). Raises
    ``sqlalchemy.exc.SQLAlchemyError`` when the database is away.
    """
    _hush()
    from alembic import command  # twelve megabytes that a gateway beside an ingester never needs
    from alembic.config import Config

    engine = write_engine(url)
    try:
        with engine.begin() as connection:
            allow(connection, statement_s=_LONGEST_S, lock_s=_LOCK_S)
            serialise_writes(connection)
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def _hush() -> None:
    """Alembic says how it is set up each time it looks; only what it changes is worth a line of ours."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    steps = logging.getLogger("alembic.runtime.migration")
    steps.setLevel(logging.INFO)
    if _is_a_step not in steps.filters:
        steps.addFilter(_is_a_step)


def _is_a_step(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or record.getMessage().startswith("Running ")
