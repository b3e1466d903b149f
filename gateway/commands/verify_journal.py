"""``understudy verify --journal``: whether anybody changed what this installation recorded."""

from __future__ import annotations

import time

from sqlalchemy.exc import SQLAlchemyError

from gateway.commands.common import fail, prepared_home, say, told
from gateway.protocol.counted import counted
from gateway.storage.reading.reader import open_reader
from gateway.storage.seals import KIND


def verify_journal() -> int:
    """Exit status 0 when the chain of hashes holds and every line that seals guardrails' verdicts finds them as they
    were."""
    reader = open_reader(prepared_home())
    try:
        broken, unsealed = reader.verify_journal(), reader.verify_verdicts(now=time.time())
        newest, seals = reader.journal(limit=1), reader.journal(limit=1_000_000, kind=KIND)
    except SQLAlchemyError as error:
        return fail(told(error))
    finally:
        reader.close()
    lines = counted(newest[0].epoch if newest else 0, "line")
    say(f"Journal of {lines}; {len(seals):,} of them for the verdicts of guardrails")
    if broken is not None:
        say(f"  PROBLEM  the chain of hashes breaks at line {broken}: that line or one before it was changed")
    if unsealed is not None:
        say(f"  PROBLEM  the verdicts that line {unsealed} seals are not those that it sealed")
    holds = broken is None and unsealed is None
    say("VALID: nothing was changed, taken out or added." if holds else "NOT VALID.")
    return 0 if holds else 1
