"""What ``understudy backup`` and ``understudy restore`` take; imports nothing of what they do."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def backup_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], add: Callable[..., argparse.ArgumentParser]
) -> None:
    """``add`` makes one command's parser, as all of ``gateway.cli`` are made."""
    taken = add(
        commands, "backup", "copy the SQLite database and check the copy; everything may run meanwhile",
        ("backups", "take"), "understudy backup", "understudy backup --to /mnt/safe/understudy.db",
        "understudy backup --list",
    )  # fmt: skip
    taken.add_argument("--to", metavar="FILE", help="where to, instead of the data directory's backups/")
    taken.add_argument("--list", action="store_true", help="show the copies that were made, and make none")
    back = add(
        commands, "restore", "put a checked copy in the place of the SQLite database; nothing may run meanwhile",
        ("backups", "put_back"), "understudy restore understudy-20260301T040000Z.db",
        "understudy restore /mnt/safe/understudy.db",
    )  # fmt: skip
    back.add_argument("copy", metavar="COPY", help="its path, or its name in the data directory's backups/")
