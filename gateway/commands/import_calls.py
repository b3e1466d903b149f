"""``understudy import``: answers that were given elsewhere, from a file or an OpenAI account, taken into a task."""

from __future__ import annotations

import hashlib
import os
import time
from argparse import Namespace
from contextlib import closing
from pathlib import Path

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from gateway.commands.common import fail, policies_of, prepared_home, read_policies, say, told
from gateway.importing.load import Loader, NoPlace, load_file, place_of
from gateway.importing.report import Report
from gateway.importing.tables import NotReadable
from gateway.storage.commands import Refused, WriterAway
from gateway.storage.home import Home
from gateway.storage.migrations import migrate
from gateway.storage.reading.reader import open_reader
from gateway.storage.writing.writers import open_writer

ACCOUNT = "openai"


def import_calls(options: Namespace) -> int:
    """Exit status 1 when nothing could be taken in."""
    loaded = read_policies(policies_of(options))
    if loaded is None:
        return 1
    home = prepared_home()
    try:
        migrate(home.database_url)
        with closing(open_reader(home)) as reader, closing(open_writer(home)) as writer:
            place = place_of(loaded.config, reader, options.project, options.task)
            loader = Loader(place, reader, None if options.dry_run else writer.execute, time.time)
            if options.source == ACCOUNT:
                return _account(options, loader, home)
            return _file(options, loader)
    except (NoPlace, NotReadable) as problem:
        return fail(f"{problem}.")
    except OSError as error:
        return fail(f"{error.filename or options.source} cannot be read: {error.strerror}.")
    except (Refused, WriterAway, SQLAlchemyError) as error:
        return fail(told(error))


def _file(options: Namespace, loader: Loader) -> int:
    path = Path(options.source)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    report = load_file(
        path, loader, name=f"import:{path.name}@{digest[:12]}", input=options.input, answer=options.answer,
        requests=options.requests,
    )  # fmt: skip
    return _tell(options, [report])


def _account(options: Namespace, loader: Loader, home: Home) -> int:
    from gateway.importing.account import Account, AccountRefused

    key = os.environ.get(options.api_key_env, "")
    if not key:
        return fail(f"set {options.api_key_env} to a key of the account.")
    everything = not (options.stored_completions or options.files or options.jobs)
    account = Account(options.base_url, key, loader, home.root / "imports", dry=options.dry_run)
    reports: list[Report] = []
    try:
        with closing(account):
            if options.stored_completions or everything:
                reports.append(account.stored_completions(options.model, dict(options.metadata)))
            if options.files or everything:
                reports += account.files()
            if options.jobs or everything:
                reports += account.jobs()
    except AccountRefused as problem:
        for report in reports:
            _show(report)
        return fail(f"{problem}. What was taken in so far stays; the same command goes on there.")
    return _tell(options, reports)


def _tell(options: Namespace, reports: list[Report]) -> int:
    if options.json:
        say(msgspec.json.encode([report.data() for report in reports]).decode())
    else:
        for report in reports:
            _show(report)
    usable = any(report.new or report.known or report.repeated for report in reports)
    return 0 if usable or not any(report.read for report in reports) else 1


def _show(report: Report) -> None:
    for line in report.lines():
        say(line)
