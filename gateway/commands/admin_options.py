"""The options of ``understudy admin``."""

from __future__ import annotations

from gateway.commands.parsing import Commands, add


def admin_commands(commands: Commands) -> None:
    admin = add(
        commands, "admin", "who may open the admin page, and who has", ("admin", "sessions"), "understudy admin totp",
        "understudy admin sessions", "understudy admin end --all --reason 'a laptop was lost'",
    )  # fmt: skip
    actions = admin.add_subparsers(title="actions", metavar="ACTION", required=True)
    totp = add(
        actions, "totp", "make the secret of a second factor (an authenticator app's codes) and show it once",
        ("admin", "totp"), "understudy admin totp", "understudy admin totp --name gateway.example.com",
    )  # fmt: skip
    totp.add_argument(
        "--name", metavar="NAME", help="what the app calls this gateway (default: this machine's name)"
    )
    sessions = add(
        actions, "sessions", "show who is logged in at a running gateway", ("admin", "sessions"),
        "understudy admin sessions",
    )  # fmt: skip
    end = add(
        actions, "end", "end sessions at a running gateway, at once", ("admin", "end"),
        "understudy admin end 0123456789abcdef --reason 'a laptop was lost'",
        "understudy admin end --all --reason 'a laptop was lost'",
    )  # fmt: skip
    end.add_argument("ids", nargs="*", metavar="ID", help="which ones; what `understudy admin sessions` calls them")
    end.add_argument("--all", action="store_true", dest="everybody", help="all of them")
    end.add_argument("--reason", required=True, help="why, for the journal")
    for one in (sessions, end):
        one.add_argument("--url", metavar="URL", help="the gateway; default: where the policies say it listens")
