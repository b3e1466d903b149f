"""What ``understudy backup`` and ``understudy restore`` take."""

from __future__ import annotations

from gateway.commands.parsing import Commands, add


def backup_commands(commands: Commands) -> None:
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
