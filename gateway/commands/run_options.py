"""The options of what concerns lessons: ``runs``, ``discover``, ``curate``, ``label``."""

from __future__ import annotations

from pathlib import Path

from gateway.commands.parsing import Commands, add


def run_commands(commands: Commands) -> None:
    runs = add(
        commands, "runs", "list, read, pause, resume, cancel or put first the trainer's runs", ("runs", "list_runs"),
        "understudy runs list", "understudy runs events run_0123 --follow", "understudy runs cancel run_0123",
    )  # fmt: skip
    actions = runs.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = add(
        actions, "list", "show the newest runs", ("runs", "list_runs"), "understudy runs list --limit 5"
    )
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="how many (default: %(default)s)")
    about = {
        "events": "what a run said", "cancel": "stop a run", "pause": "let a run rest; what it reached is kept",
        "resume": "let a paused run go on", "priority": "put a run before or behind others that wait",
    }  # fmt: skip
    behind = {"events": " --follow", "priority": " 10"}
    made = {
        name: add(actions, name, text, ("runs", name), f"understudy runs {name} run_0123{behind.get(name, '')}")
        for name, text in about.items()
    }
    for one in made.values():
        one.add_argument("run_id", metavar="RUN", help="its id")
    made["events"].add_argument("--follow", action="store_true", help="go on telling until it has ended")
    made["priority"].add_argument("priority", type=int, metavar="N", help="more goes first (usual: 0)")
    found = add(
        commands, "discover", "find tasks in calls that no task claims", ("discover", "discover"),
        "understudy discover", "understudy discover --json",
    )  # fmt: skip
    found.add_argument("--json", action="store_true", help="everything, as JSON")
    curate = add(
        commands, "curate", "show what a task's lesson would be made of", ("curate", "preview"),
        "understudy curate support-triage",
    )  # fmt: skip
    curate.add_argument("task", metavar="TASK", help="its name")
    curate.add_argument("--json", action="store_true", help="the dataset's card as JSON")
    label = add(
        commands, "label", "hold the judge against people: draw pairs, or take in what people said", ("label", "label"),
        "understudy label support-triage-1a2b-v1 --draw 60 pairs.jsonl",
        "understudy label support-triage-1a2b-v1 pairs.jsonl",
    )  # fmt: skip
    label.add_argument("student", metavar="STUDENT", help="its id")
    label.add_argument("file", type=Path, metavar="FILE", help="one pair a line, as JSON")
    label.add_argument("--draw", type=int, metavar="N", help="write so many pairs to FILE, drawn at random, blind")
