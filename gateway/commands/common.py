"""What commands share: where the policies are, reading them, and how a failure is told."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import gateway
from gateway.policy.files import Loaded, PolicyError, read
from gateway.protocol.counted import counted
from gateway.protocol.visible import visible
from gateway.storage.away import database_errors
from gateway.storage.commands import Command
from gateway.storage.home import Home
from gateway.storage.writing.writers import open_writer

SHIPPED = Path(gateway.__file__).resolve().parent.parent / "policies"


def say(text: str = "") -> None:
    """A line for the person at the terminal, whatever texts of clients are in it."""
    print(visible(text), flush=True)


def fail(text: str) -> int:
    """Tells what went wrong; returns the exit status."""
    warn(text)
    return 1


def warn(text: str) -> None:
    """What the person should know, beside what programs read."""
    print(f"understudy: {visible(text)}", file=sys.stderr, flush=True)


def policies_of(options: Namespace) -> Path:
    """``--policies``, else ``policies/`` here, else the ones that ship with the package."""
    if options.policies is not None:
        return Path(options.policies)
    here = Path("policies")
    return here if here.is_dir() else SHIPPED


def read_policies(folder: Path) -> Loaded | None:
    """The policies, or None after every problem was told."""
    try:
        return read(folder, os.environ)
    except PolicyError as error:
        for problem in error.problems:
            print(visible(str(problem)), file=sys.stderr)
        fail(f"{counted(len(error.problems), 'problem')} in the policies.")
        return None


def prepared_home() -> Home:
    """The data directory, made when it is missing. Raises SystemExit with a sentence when that fails."""
    home = Home.from_env()
    try:
        return home.prepare()
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise SystemExit(
            fail(f"the data directory {home.root} cannot be used: {reason}. Choose one with --home DIR.")
        ) from None


def execute(command: Command) -> Any:
    """Has a command carried out, by the ingester when one runs. Raises Refused, WriterAway or SQLAlchemyError."""
    writer = open_writer(prepared_home())
    try:
        return writer.execute(command)
    finally:
        writer.close()


def told(error: Exception) -> str:
    """A failed command in a sentence."""
    if isinstance(error, database_errors()):
        home = Home.from_env()
        if home.embedded and not home.database.exists():
            return f"there is no database in {home.root} yet. Run: understudy up, or name another with --home DIR"
        return f"the database cannot be used ({type(error).__name__}). Start it, or run: understudy migrate"
    return str(error) or "the writing process cannot be reached; try again."
