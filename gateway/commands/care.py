"""Commands that look after an installation: ``check`` and ``migrate``."""

from __future__ import annotations

from argparse import Namespace
from contextlib import nullcontext

from gateway.commands.common import fail, policies_of, prepared_home, read_policies, say


def check(options: Namespace) -> int:
    """Exit status 1 when the policies cannot be used; warnings leave it at 0."""
    loaded = read_policies(policies_of(options))
    if loaded is None:
        return 1
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    config = loaded.config
    counts = f"{len(config.providers)} providers, {len(config.tasks)} tasks, {len(config.policies)} policies"
    say(f"The policies are good: {counts}. Digest {config.digest}.")
    return 0


def migrate(_options: Namespace) -> int:
    """Brings the schema of the database to this version's; a running ingester has done so already."""
    from sqlalchemy.exc import SQLAlchemyError

    from gateway.storage.commands import WriterAway
    from gateway.storage.engine import is_sqlite
    from gateway.storage.migrations import migrate as bring_up_to_date
    from gateway.storage.writers import writer_lock

    home = prepared_home()
    url = home.database_url
    try:
        with writer_lock(home, wait_s=2.0) if is_sqlite(url) else nullcontext():
            bring_up_to_date(url)
    except WriterAway:
        return fail("the database is in use by a running understudy, which has migrated it when it started.")
    except SQLAlchemyError as error:
        return fail(f"the database cannot be migrated ({type(error).__name__}): is it there, and writable?")
    say("The database is up to date.")
    return 0
