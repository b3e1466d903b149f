"""The options of ``understudy keys``."""

from __future__ import annotations

import argparse

from gateway.commands.parsing import Commands, add


def key_commands(commands: Commands) -> None:
    keys = add(
        commands, "keys", "create, list, rotate or revoke virtual keys", ("keys", "list_keys"),
        "understudy keys create --name app", "understudy keys list", "understudy keys rotate app",
    )  # fmt: skip
    actions = keys.add_subparsers(title="actions", metavar="ACTION", required=True)
    create = add(
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
    listing = add(
        actions, "list", "show the keys without their texts, those in the policies too", ("keys", "list_keys"),
        "understudy keys list",
    )  # fmt: skip
    listing.add_argument("--all", action="store_true", help="revoked and expired ones too")
    rotate = add(
        actions, "rotate", "give a key a new text and show it once; id, limits and budgets stay",
        ("keys", "rotate"), "understudy keys rotate app", "understudy keys rotate app --grace 0",
    )  # fmt: skip
    rotate.add_argument("ref", metavar="KEY", help="its id, name or hint")
    rotate.add_argument(
        "--grace", default="24", metavar="HOURS", help="how long the old text is accepted (default: 24)"
    )
    revoke = add(
        actions, "revoke", "end a key at once", ("keys", "revoke"),
        "understudy keys revoke app", "understudy keys revoke key_0123456789abcdef",
    )  # fmt: skip
    revoke.add_argument("ref", metavar="KEY", help="its id, name or hint")


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
