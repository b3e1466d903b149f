"""The options of ``understudy admin``."""

from __future__ import annotations

from gateway.commands.parsing import Commands, add


def admin_commands(commands: Commands) -> None:
    admin = add(
        commands, "admin", "who may open the admin page", ("admin", "totp"), "understudy admin totp"
    )
    actions = admin.add_subparsers(title="actions", metavar="ACTION", required=True)
    totp = add(
        actions, "totp", "make the secret of a second factor (an authenticator app's codes) and show it once",
        ("admin", "totp"), "understudy admin totp", "understudy admin totp --name gateway.example.com",
    )  # fmt: skip
    totp.add_argument(
        "--name", metavar="NAME", help="what the app calls this gateway (default: this machine's name)"
    )
