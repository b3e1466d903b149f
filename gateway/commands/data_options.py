"""The options of ``understudy import`` and ``understudy erase``."""

from __future__ import annotations

from pathlib import Path

from gateway.commands.parsing import Commands, add, pair


def data_commands(commands: Commands) -> None:
    taken = add(
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
    taken.add_argument("--metadata", type=pair, action="append", default=[], metavar="NAME=VALUE",
                       help="stored completions with this entry alone; may be said several times")
    taken.add_argument("--base-url", default="https://api.openai.com/v1", help="default: %(default)s")
    taken.add_argument("--api-key-env", default="OPENAI_API_KEY", metavar="VARIABLE", help="default: %(default)s")
    erase = add(
        commands, "erase", "erase what the calls of one end user left, everywhere", ("erase", "erase"),
        "understudy erase --user customer-4711 --project shop --reason 'request of 3 May'",
    )  # fmt: skip
    erase.add_argument("--user", required=True, metavar="ID", help="the 'safety_identifier' or 'user' clients sent")
    erase.add_argument("--project", default="default", help="whose end user it is (default: %(default)s)")
    erase.add_argument("--reason", default="", metavar="TEXT", help="why, for the journal")
