"""The options of the questions about routing: ``explain``, ``replay``, ``compare``."""

from __future__ import annotations

from gateway.commands.parsing import Commands, add


def routing_commands(commands: Commands) -> None:
    explain = add(
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
    replay = add(
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
    compare = add(
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
