"""The options of ``understudy cache``."""

from __future__ import annotations

from gateway.commands.parsing import Commands, add


def cache_commands(commands: Commands) -> None:
    caches = add(
        commands, "cache", "how a running gateway's caches stand; forget answers", ("caches", "show"),
        "understudy cache show", "understudy cache purge --task faq --reason 'prices changed'",
    )  # fmt: skip
    actions = caches.add_subparsers(title="actions", metavar="ACTION", required=True)
    show = add(
        actions, "show", "what is kept, and which tasks serve from it", ("caches", "show"), "understudy cache show"
    )
    purge = add(
        actions, "purge", "forget answers; every condition that is given must hold", ("caches", "purge"),
        "understudy cache purge --task faq --older-than 3600 --reason 'prices changed'",
        "understudy cache purge --key app --reason 'a test went wrong'",
        "understudy cache purge --everything --reason 'start afresh'",
    )  # fmt: skip
    purge.add_argument("--task", metavar="NAME", help="answers of this task")
    purge.add_argument("--project", metavar="NAME", help="answers of this project")
    purge.add_argument("--key", metavar="KEY", help="answers that calls of this API key brought; its name or id")
    purge.add_argument("--entry", metavar="HEX", help="the one answer; what x-understudy-cache-key said")
    purge.add_argument(
        "--older-than", dest="older_than_s", type=float, metavar="SECONDS", help="answers of at least this age"
    )
    purge.add_argument("--everything", action="store_true", help="all answers")
    purge.add_argument("--reason", required=True, help="why, for the audit")
    for one in (show, purge):
        one.add_argument("--url", metavar="URL", help="the gateway; default: where the policies say it listens")
