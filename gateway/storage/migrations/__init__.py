"""Schema migrations. ``migrate(url)`` brings a database up to this version and may run any number of times."""

from __future__ import annotations

from pathlib import Path

from gateway.storage.engine import serialise_writes, write_engine


def migrate(url: str) -> None:
    """Creates or upgrades the schema in one transaction, so that a crash leaves the old one.

    On SQLite the caller must be the database's writer (it holds ``writer.lock``). Raises
    ``sqlalchemy.exc.SQLAlchemyError`` when the database is away.
    """
    from alembic import command  # twelve megabytes that a gateway beside an ingester never needs
    from alembic.config import Config

    engine = write_engine(url)
    try:
        with engine.begin() as connection:
            serialise_writes(connection)
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()
