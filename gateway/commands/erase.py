"""``understudy erase``: what the calls of one end user left is erased, here and in every running process."""

from __future__ import annotations

import time
from argparse import Namespace

from sqlalchemy.exc import SQLAlchemyError

from gateway.commands.common import execute, fail, say, told
from gateway.storage.commands import Refused, WriterAway
from gateway.storage.erasure_values import EraseUser, Erasure

_ACTOR = "cli"


def erase(options: Namespace) -> int:
    """Exit status 1 when nothing was erased because the database could not be written."""
    command = EraseUser(options.project, options.user, _ACTOR, options.reason.strip(), time.time())
    try:
        done: Erasure = execute(command)
    except (Refused, WriterAway, SQLAlchemyError) as error:
        return fail(told(error))
    say(f"Erased: the text of {done.texts:,} captured calls, and the name in {done.calls:,} ledger lines.")
    say("Running gateways forget what they hold within a second; the trainer empties the rows of datasets.")
    say(f"The journal names the person {done.who[:16]}.")
    return 0
