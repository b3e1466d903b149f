"""``understudy admin``: the second factor of the admin page."""

from __future__ import annotations

import socket
from argparse import Namespace

from gateway.access.second_factor import VARIABLE, new_secret, uri_of
from gateway.commands.common import say

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
