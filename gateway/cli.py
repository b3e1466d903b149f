"""The command ``understudy``. This file only parses; what a command does is in ``gateway.commands``."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from gateway.commands.backup_options import backup_commands
from gateway.commands.cache_options import cache_commands

_RAW = argparse.RawDescriptionHelpFormatter
_ABOUT = """\
An OpenAI-compatible gateway that trains cheap students from your traffic and proves them first.

Without a command: starts the gateway when a provider's key is set, else the demonstration."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Exit status: 0 done, 1 refused or failed, 2 wrong usage."""
    options = _parser().parse_args(argv)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="understudy",
        description=_ABOUT,
        formatter_class=_RAW,
        epilog=_examples("understudy", "understudy check"),
    )
    _places(parser)
    parser.set_defaults(run=("start", "default"), host=None, port=None, workers=None, fresh=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _process_commands(commands)
    _care_commands(commands)
    _key_commands(commands)
    _run_commands(commands)
    _data_commands(commands)
    _guard_commands(commands)
    cache_commands(commands, _add)
    backup_commands(commands, _add)
    return parser


def _process_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    up = _add(
        commands, "up", "gateway, ingester, trainer and engine in one process tree", ("start", "up"),
        "understudy up", "understudy up --policies /etc/understudy --port 9000",
    )  # fmt: skip
    _address(up)
    serve = _add(
        commands,
        "serve",
        "the gateway alone",
        ("start", "serve"),
        "understudy serve --host 127.0.0.1 --port 8081",
        "understudy serve --workers 4",
    )
    _address(serve)
    _add(commands, "ingest", "the ingester alone: spool to database", ("start", "ingest"), "understudy ingest")
    _add(
        commands,
        "trainer",
        "the trainer alone: learns and promotes",
        ("start", "trainer"),
        "understudy trainer",
    )
    _add(
        commands,
        "engine",
        "the classifier engine alone: serves students",
        ("start", "engine"),
        "understudy engine",
    )
    demo = _add(
        commands, "demo", "the whole loop with a simulated teacher", ("start", "demo"),
        "understudy demo", "understudy demo --fresh",
    )  # fmt: skip
    demo.add_argument("--fresh", action="store_true", help="forget the last demonstration first")


def _care_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _add(
        commands, "check", "validate the policies; exit status 1 with file:line when they cannot be used",
        ("care", "check"), "understudy check", "understudy check --policies policies/demo",
    )  # fmt: skip
    saved = _add(
        commands, "savings", "whether students have paid for themselves, and what was expected", ("savings", "savings"),
        "understudy savings", "understudy savings --days 7 --json",
    )  # fmt: skip
    saved.add_argument("--days", type=float, default=30.0, metavar="N", help="how far back (default: 30)")
    saved.add_argument("--json", action="store_true", help="print the figures as JSON")
    _add(
        commands,
        "migrate",
        "bring the database's schema up to date",
        ("care", "migrate"),
        "understudy migrate",
    )
    carry = _add(
        commands, "import-config", "turn a LiteLLM configuration into policies, and tell what could not come along",
        ("import_config", "import_config"), "understudy import-config config.yaml --out policies-new",
    )  # fmt: skip
    carry.add_argument("file", metavar="FILE", help="LiteLLM's config.yaml")
    carry.add_argument("--out", required=True, metavar="DIR", help="a new folder for the policies")
    explain = _add(
        commands, "explain", "show how a request would be routed, and why", ("explain", "explain_request"),
        "understudy explain --body request.json",
        "understudy explain --body - --key app --header x-tier=gold < request.json",
    )  # fmt: skip
    explain.add_argument(
        "--body", required=True, metavar="FILE", help="a chat completion request; - is stdin"
    )
    explain.add_argument("--key", default="", metavar="NAME", help="who asks: a key's name or id")
    explain.add_argument("--project", default="default", help="whose call it is without --key")
    explain.add_argument("--header", action="append", default=[], metavar="NAME=VALUE")
    explain.add_argument("--json", action="store_true", help="everything, as JSON")
    replay = _add(
        commands, "replay", "estimate what another policy would have cost and brought, from recorded calls",
        ("replay", "replay"), "understudy replay --task support-triage --policies policies-new",
        "understudy replay --task support-triage --policy careful --days 7 --json",
    )  # fmt: skip
    replay.add_argument("--task", required=True, metavar="NAME", help="whose calls")
    replay.add_argument(
        "--policy", default="", metavar="NAME", help="instead of the task's own policy and rules"
    )
    replay.add_argument("--days", type=float, default=30.0, metavar="N", help="how far back (default: 30)")
    replay.add_argument(
        "--limit", type=int, default=20_000, metavar="N", help="newest calls (default: 20000)"
    )
    replay.add_argument("--json", action="store_true", help="everything, as JSON")
    compare = _add(
        commands, "compare", "which candidate of a task is best, from calls that were drawn at random",
        ("compare", "compare_candidates"), "understudy compare --task support-triage",
        "understudy compare --task support-triage --days 7 --alpha 0.01 --json",
    )  # fmt: skip
    compare.add_argument("--task", required=True, metavar="NAME", help="whose candidates")
    compare.add_argument("--days", type=float, default=30.0, metavar="N", help="how far back (default: 30)")
    compare.add_argument("--limit", type=int, default=20_000, metavar="N", help="newest calls (default: 20000)")
    compare.add_argument("--alpha", type=float, default=0.05, metavar="A", help="chance to be wrong (default: 0.05)")
    compare.add_argument("--min-calls", type=int, default=100, metavar="N", help="of each candidate (default: 100)")
    compare.add_argument("--json", action="store_true", help="everything, as JSON")
    _verify_command(commands)


def _verify_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verify = _add(
        commands, "verify", "recompute a student's certificate, or check the journal", ("verify", "verify"),
        "understudy verify .understudy/certificates/CERTIFICATE.json",
        "understudy verify CERTIFICATE.json --public-key BASE64", "understudy verify --journal",
    )  # fmt: skip
    verify.add_argument("certificate", type=Path, nargs="?", metavar="CERTIFICATE", help="the certificate's file")
    verify.add_argument("--public-key", metavar="BASE64", help="the signer (default: this installation)")
    verify.add_argument("--journal", action="store_true", help="the record of this installation instead")


def _key_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    keys = _add(
        commands, "keys", "create, list, rotate or revoke virtual keys", ("keys", "list_keys"),
        "understudy keys create --name app", "understudy keys list", "understudy keys rotate app",
    )  # fmt: skip
    actions = keys.add_subparsers(title="actions", metavar="ACTION", required=True)
    create = _add(
        actions, "create", "make a key and show it once", ("keys", "create"),
        "understudy keys create --name app --project shop --rpm 600",
        "understudy keys create --name batch --project shop --models openai/gpt-4o-mini --rpm unlimited",
    )  # fmt: skip
    create.add_argument("--name", required=True, help="what the key is for")
    create.add_argument("--project", default="default", help="whose key it is (default: %(default)s)")
    create.add_argument(
        "--models", default="", metavar="A,B", help="models and tasks it may call (default: all)"
    )
    create.add_argument(
        "--scopes", default="inference", metavar="A,B", help="inference, data, train (default: inference)"
    )
    create.add_argument(
        "--rpm", default="600", metavar="N", help="requests a minute, or 'unlimited' (default: 600)"
    )
    create.add_argument(
        "--expires", default="365", metavar="DAYS", help="days it is valid, or 'never' (default: 365)"
    )
    _limit_options(create)
    listing = _add(
        actions, "list", "show the keys without their texts", ("keys", "list_keys"), "understudy keys list"
    )
    listing.add_argument("--all", action="store_true", help="revoked and expired ones too")
    rotate = _add(
        actions, "rotate", "give a key a new text and show it once; id, limits and budgets stay",
        ("keys", "rotate"), "understudy keys rotate app", "understudy keys rotate app --grace 0",
    )  # fmt: skip
    rotate.add_argument("ref", metavar="KEY", help="its id, name or hint")
    rotate.add_argument(
        "--grace", default="24", metavar="HOURS", help="how long the old text is accepted (default: 24)"
    )
    revoke = _add(
        actions, "revoke", "end a key at once", ("keys", "revoke"),
        "understudy keys revoke app", "understudy keys revoke key_0123456789abcdef",
    )  # fmt: skip
    revoke.add_argument("ref", metavar="KEY", help="its id, name or hint")


def _run_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    runs = _add(
        commands, "runs", "list, read, pause, resume, cancel or put first the trainer's runs", ("runs", "list_runs"),
        "understudy runs list", "understudy runs events run_0123 --follow", "understudy runs cancel run_0123",
    )  # fmt: skip
    actions = runs.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = _add(
        actions, "list", "show the newest runs", ("runs", "list_runs"), "understudy runs list --limit 5"
    )
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="how many (default: %(default)s)")
    about = {
        "events": "what a run said", "cancel": "stop a run", "pause": "let a run rest; what it reached is kept",
        "resume": "let a paused run go on", "priority": "put a run before or behind others that wait",
    }  # fmt: skip
    made = {
        name: _add(actions, name, text, ("runs", name), f"understudy runs {name} run_0123")
        for name, text in about.items()
    }
    for one in made.values():
        one.add_argument("run_id", metavar="RUN", help="its id")
    made["events"].add_argument("--follow", action="store_true", help="go on telling until it has ended")
    made["priority"].add_argument("priority", type=int, metavar="N", help="more goes first (usual: 0)")
    found = _add(
        commands, "discover", "find tasks in calls that no task claims", ("discover", "discover"),
        "understudy discover", "understudy discover --json",
    )  # fmt: skip
    found.add_argument("--json", action="store_true", help="everything, as JSON")
    curate = _add(
        commands, "curate", "show what a task's lesson would be made of", ("curate", "preview"),
        "understudy curate support-triage",
    )  # fmt: skip
    curate.add_argument("task", metavar="TASK", help="its name")
    curate.add_argument("--json", action="store_true", help="the dataset's card as JSON")
    label = _add(
        commands, "label", "hold the judge against people: draw pairs, or take in what people said", ("label", "label"),
        "understudy label support-triage-1a2b-v1 --draw 60 pairs.jsonl",
        "understudy label support-triage-1a2b-v1 pairs.jsonl",
    )  # fmt: skip
    label.add_argument("student", metavar="STUDENT", help="its id")
    label.add_argument("file", type=Path, metavar="FILE", help="one pair a line, as JSON")
    label.add_argument("--draw", type=int, metavar="N", help="write so many pairs to FILE, drawn at random, blind")


def _data_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    taken = _add(
        commands, "import", "take answers that were given elsewhere into a task", ("import_calls", "import_calls"),
        "understudy import tickets.csv --task support-triage --dry-run",
        "understudy import output.jsonl --requests input.jsonl --task support-triage",
        "understudy import openai --task support-triage --stored-completions --model gpt-4o",
    )  # fmt: skip
    taken.add_argument(
        "source", metavar="SOURCE",
        help="a file (JSON lines, a JSON list, separated values; .gz too), or the word openai for an account",
    )  # fmt: skip
    taken.add_argument("--task", required=True, metavar="NAME", help="the task that may learn from them")
    taken.add_argument("--project", default="default", help="whose calls they are (default: %(default)s)")
    taken.add_argument("--dry-run", action="store_true", help="tell what would be done, and do nothing")
    taken.add_argument("--json", action="store_true", help="the report as JSON")
    taken.add_argument("--input", metavar="COLUMN", help="what was asked (default: found by its name)")
    taken.add_argument("--answer", metavar="COLUMN", help="what was answered (default: found by its name)")
    taken.add_argument("--requests", type=Path, metavar="FILE", help="the input of a batch whose output it is")
    for kind in ("stored-completions", "files", "jobs"):
        taken.add_argument(f"--{kind}", action="store_true", help="of an account: these alone")
    taken.add_argument("--model", metavar="NAME", help="stored completions of this model alone")
    taken.add_argument("--metadata", type=_pair, action="append", default=[], metavar="NAME=VALUE", help="entries")
    taken.add_argument("--base-url", default="https://api.openai.com/v1", help="default: %(default)s")
    taken.add_argument("--api-key-env", default="OPENAI_API_KEY", metavar="VARIABLE", help="default: %(default)s")
    erase = _add(
        commands, "erase", "erase what the calls of one end user left, everywhere", ("erase", "erase"),
        "understudy erase --user customer-4711 --project shop --reason 'request of 3 May'",
    )  # fmt: skip
    erase.add_argument("--user", required=True, metavar="ID", help="the 'safety_identifier' or 'user' clients sent")
    erase.add_argument("--project", default="default", help="whose end user it is (default: %(default)s)")
    erase.add_argument("--reason", default="", metavar="TEXT", help="why, for the journal")


def _guard_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = "understudy guards train attacks.jsonl --out guards/attacks"
    guards = _add(commands, "guards", "fit guardrails on your own examples", ("guards", "train"), example)
    actions = guards.add_subparsers(title="actions", metavar="ACTION", required=True)
    train = _add(
        actions, "train", "fit the injection classifier on labelled JSON lines", ("guards", "train"),
        example, "understudy guards train attacks.jsonl.gz --half",
    )  # fmt: skip
    train.add_argument(
        "data", type=Path, metavar="DATA",
        help="a file or folder of *.jsonl or *.jsonl.gz with 'text' and 'attack' or 'toxic' (0 or 1), and perhaps"
        " 'group', 'family', 'source' and 'unsafe'",
    )  # fmt: skip
    where = train.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, metavar="DIR", help="where the fitted model is written")
    where.add_argument(
        "--half", action="store_true", help="write nothing: fit on half of the groups, test on the others"
    )
    train.add_argument(
        "--false-positives", type=float, default=0.02, metavar="SHARE",
        help="of benign look-alikes (family benign_hard_negative; where none are marked, of all benign texts) that may"
        " be stopped (default: %(default)s)",
    )  # fmt: skip
    train.add_argument(
        "--elsewhere", type=float, default=0.02, metavar="SHARE",
        help="of the other benign texts that may be stopped (default: %(default)s)",
    )  # fmt: skip
    train.add_argument("--seed", type=int, default=0, metavar="N", help="another way to halve (default: 0)")


def _limit_options(create: argparse.ArgumentParser) -> None:
    for option, name, help_text in (
        ("--tpm", "N", "tokens a minute"),
        ("--concurrency", "N", "calls at once"),
        ("--budget-usd-day", "USD", "US dollars a calendar day (UTC)"),
        ("--budget-usd-month", "USD", "US dollars a calendar month (UTC)"),
    ):
        create.add_argument(
            option, default="unlimited", metavar=name, help=f"{help_text} (default: %(default)s)"
        )


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str, about: str, run: tuple[str, str], *examples: str,
) -> argparse.ArgumentParser:  # fmt: skip
    parser = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        formatter_class=_RAW,
        epilog=_examples(*examples),
    )
    _places(parser, top=False)
    parser.set_defaults(run=run)
    return parser


def _places(parser: argparse.ArgumentParser, *, top: bool = True) -> None:
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


def _address(parser: argparse.ArgumentParser) -> None:
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


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return name, value


def _examples(*lines: str) -> str:
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
