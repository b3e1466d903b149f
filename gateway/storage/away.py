"""What is raised while the database is away, without loading its driver, for which an idle gateway has no use."""

from __future__ import annotations

import sys

_LONGEST = 300


class DatabaseAway(Exception):
    """The embedded database cannot be read, or is not there yet."""


def database_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """``except database_errors()`` catches SQLAlchemyError too, and ``others``. While SQLAlchemy is not loaded nothing
    can have raised it, so evaluate this where something was raised, not before as ``contextlib.suppress`` would."""
    if "sqlalchemy" not in sys.modules:
        return (DatabaseAway, *others)
    from sqlalchemy.exc import SQLAlchemyError

    return (DatabaseAway, SQLAlchemyError, *others)


def said(problem: Exception) -> str:
    """For a log: what raised and, where it is about reaching the database, what its driver says. Its first line alone,
    which names hosts and users but no password: others, and other errors, may quote what was to be written."""
    name, first = type(problem).__name__, ""
    if isinstance(problem, DatabaseAway) or name == "OperationalError":
        first = str(getattr(problem, "orig", None) or problem).partition("\n")[0][:_LONGEST]
    return f"{name}: {first}" if first else name
