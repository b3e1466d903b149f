"""``understudy admin``: the second factor of the admin page, and who is logged in."""

from __future__ import annotations

import socket
import time
from argparse import Namespace

from gateway.access.second_factor import VARIABLE, new_secret, uri_of
from gateway.commands.admin_line import Admin, with_admin
from gateway.commands.common import fail, say

_NEXT = """\
This secret is shown this once and kept nowhere. Give the first line to an authenticator app, as a QR code, or type the
secret into it. Set the second in the gateway's environment, beside the admin key, and start the gateway again: the
admin page then asks for a code as well. Without the variable it asks for none, which is also the way back for somebody
who lost the app."""


def totp(options: Namespace) -> int:
    """Writes nothing down: what it shows is in force once the gateway starts with it."""
    secret = new_secret()
    say(uri_of(secret, options.name or socket.gethostname()))
    say()
    say(f"{VARIABLE}={secret}")
    say()
    say(_NEXT)
    return 0


def sessions(options: Namespace) -> int:
    return with_admin(options, _show)


def _show(admin: Admin) -> None:
    found = [one for one in admin.read("/admin/api/sessions")["sessions"] if not one["this"]]
    if not found:
        say("Nobody is logged in.")
    for one in found:
        moved = f", last from {one['seen_from']}" if one["seen_from"] != one["address"] else ""
        say(
            f"{one['id']}  {one['address']}{moved}  since {_clock(one['since'])}, seen {_clock(one['seen'])}  "
            f"{one['browser'] or 'unknown'}"
        )


def end(options: Namespace) -> int:
    if bool(options.ids) is options.everybody:
        return fail("name the sessions to end, or all of them with --all.")
    body = {"reason": options.reason} | ({} if options.everybody else {"ids": options.ids})
    return with_admin(options, lambda admin: say(admin.act("/admin/api/sessions/end", body)["message"]))


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
