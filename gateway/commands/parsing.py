"""How a command says what it takes; imports nothing of what commands do, so that the command line starts at once."""

from __future__ import annotations

import argparse
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from gateway.protocol.visible import visible

Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"
RAW = argparse.RawDescriptionHelpFormatter
_OTHER_WORDS = {
    "train": ("trainer", "curate"), "start": ("up",), "run": ("up", "runs"), "gateway": ("serve",),
    "validate": ("check",), "route": ("explain",), "cost": ("savings",), "add": ("create",),
    "delete": ("erase", "revoke"), "remove": ("erase", "revoke"),
}  # fmt: skip
"""What people call a command before they know its name."""


class CommandParser(argparse.ArgumentParser):
    """Tells whoever mistypes a command which one was meant, and not all that there are."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            self._unknown(str(value), list(action.choices))
        super()._check_value(action, value)

    def _unknown(self, word: str, known: list[str]) -> NoReturn:
        near = [one for one in _OTHER_WORDS.get(word, ()) if one in known] or get_close_matches(word, known, n=2)
        meant = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        wrong = visible(f"'{self.prog} {word}'")
        self.exit(2, f"understudy: there is no command {wrong}.{meant} See: {self.prog} --help\n")


def add(
    commands: Commands,
    name: str, about: str, run: tuple[str, str], *examples: str,
) -> CommandParser:  # fmt: skip
    parser = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        formatter_class=RAW,
        epilog=examples_of(*examples),
    )
    places(parser, top=False)
    parser.set_defaults(run=run)
    return parser


def places(parser: argparse.ArgumentParser, *, top: bool = True) -> None:
    """``--policies`` and ``--home`` may stand before or after the command; the later one wins."""
    unset = None if top else argparse.SUPPRESS
    parser.add_argument("--policies", type=Path, metavar="DIR", default=unset, help="default: policies/")
    parser.add_argument(
        "--home",
        type=Path,
        metavar="DIR",
        default=unset,
        help="data directory; default: $UNDERSTUDY_HOME or .understudy/",
    )


def address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="default: server.host of the policies")
    parser.add_argument("--port", type=_port, metavar="N", help="default: server.port of the policies")
    parser.add_argument(
        "--workers", type=_workers, metavar="N",
        help="gateway processes behind the port; more than 1 need Redis (default: server.workers of the policies)",
    )  # fmt: skip


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port number (0 to 65535)")
    return int(text)


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of workers (1 to 64)")
    return int(text)


def pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return name, value


def examples_of(*lines: str) -> str:
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)
