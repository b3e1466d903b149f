"""Commands that look after an installation: ``check`` and ``migrate``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import nullcontext

from gateway.commands.common import fail, policies_of, prepared_home, read_policies, say
from gateway.commands.made_keys import strangers
from gateway.config import Config
from gateway.protocol.counted import counted


def check(options: Namespace) -> int:
    """Exit status 1 when the policies cannot be used; warnings leave it at 0."""
    loaded = read_policies(policies_of(options))
    if loaded is None:
        return 1
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    for warning in strangers(loaded):
        say(f"warning: {warning}")
    config = loaded.config
    counts = ", ".join((
        counted(len(config.providers), "provider"), counted(len(config.tasks), "task"),
        counted(len(config.policies), "policy", "policies"),
    ))  # fmt: skip
    for line in _guardrails(config):
        say(line)
    say(f"The policies are good: {counts}. Digest {config.digest}.")
    return 0


def _guardrails(config: Config) -> Iterator[str]:
    """A line for each: its type, what is special about it, how many tests of its own it has passed."""
    if config.templates:
        yield f"guardrails, from the templates {', '.join(config.templates)} and the policies:"
    for name, guard in config.guardrails.items():
        shadow = ", only records" if guard.shadow else ""
        where = f" in {', '.join(guard.directions)}" if guard.directions else ""
        kind = guard.__struct_config__.tag
        yield f"guardrail {name}: {kind}{where}{shadow}, tests passed: {len(guard.tests)}"


def migrate(_options: Namespace) -> int:
    """Brings the schema of the database to this version's; a running ingester has done so already."""
    from sqlalchemy.exc import SQLAlchemyError

    from gateway.storage.commands import WriterAway
    from gateway.storage.engine import is_sqlite
    from gateway.storage.migrations import migrate as bring_up_to_date
    from gateway.storage.writing.writers import writer_lock

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
