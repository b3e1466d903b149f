"""The command ``understudy``: ``gateway.commands`` has what each command takes (``*_options``) and what it does."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from gateway.commands.admin_options import admin_commands
from gateway.commands.backup_options import backup_commands
from gateway.commands.cache_options import cache_commands
from gateway.commands.care_options import care_commands
from gateway.commands.data_options import data_commands
from gateway.commands.guard_options import guard_commands
from gateway.commands.key_options import key_commands
from gateway.commands.parsing import RAW, CommandParser, examples_of, places
from gateway.commands.process_options import process_commands
from gateway.commands.routing_options import routing_commands
from gateway.commands.run_options import run_commands

_FAMILIES = (
    process_commands, care_commands, routing_commands, key_commands, run_commands, data_commands, guard_commands,
    cache_commands, backup_commands, admin_commands,
)  # fmt: skip
_ABOUT = """\
An OpenAI-compatible gateway that trains cheap students from your traffic and proves them first.

Without a command: starts the gateway when a provider's key is set, else the demonstration."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Exit status: 0 done, 1 refused or failed, 2 wrong usage."""
    options = parser().parse_args(argv)
    home: Path | None = options.home
    if home is not None:
        os.environ["UNDERSTUDY_HOME"] = str(home.resolve())  # children and libraries read the same place
    module, function = options.run
    gc.disable()  # loading makes no garbage to speak of, and a seventh of its time would go into looking for it
    command = getattr(import_module(f"gateway.commands.{module}"), function)
    gc.enable()
    try:
        return int(command(options))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def parser() -> CommandParser:
    """Everything that the command line takes."""
    made = CommandParser(
        prog="understudy",
        description=_ABOUT,
        formatter_class=RAW,
        epilog=examples_of("understudy", "understudy check"),
    )
    places(made)
    made.set_defaults(run=("start", "default"), host=None, port=None, workers=None, fresh=False)
    commands = made.add_subparsers(title="commands", metavar="COMMAND")
    for family in _FAMILIES:
        family(commands)
    return made


if __name__ == "__main__":
    sys.exit(main())
