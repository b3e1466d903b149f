"""What is raised while the database is away, without loading its driver, for which an idle gateway has no use."""

from __future__ import annotations

import sys


class DatabaseAway(Exception):
    """The embedded database cannot be read, or is not there yet."""


def database_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """``except database_errors()`` catches SQLAlchemyError too, and ``others``. While SQLAlchemy is not loaded nothing
    can have raised it, so evaluate this where something was raised, not before as ``contextlib.suppress`` would."""
    if "sqlalchemy" not in sys.modules:
        return (DatabaseAway, *others)
    from sqlalchemy.exc import SQLAlchemyError

    return (DatabaseAway, SQLAlchemyError, *others)
