"""``understudy keys``: virtual keys are made, listed, rotated and revoked here; a key's text is shown once."""

from __future__ import annotations

import os
import re
import secrets
import time
from argparse import Namespace
from typing import get_args

from sqlalchemy.exc import SQLAlchemyError

from gateway.access.keys import new_key
from gateway.commands.common import execute, fail, policies_of, say, told, warn
from gateway.commands.key_models import doubts
from gateway.commands.made_keys import made_keys, state_of
from gateway.config import Name
from gateway.config.limits import YamlKey
from gateway.policy.files import PolicyError, read
from gateway.protocol.counted import counted
from gateway.storage.commands import CreateKey, Refused, RevokeKey, RotateKey, WriterAway
from gateway.storage.home import Home
from gateway.storage.values import Key

SCOPES = ("inference", "data", "train")
DAY_S = 86_400.0
HOUR_S = 3600.0
_NAME = re.compile(get_args(Name)[1].pattern)
_ACTOR = "cli"


class Wrong(ValueError):
    """An option that cannot be used; the text says what to write instead."""


def create(options: Namespace) -> int:
    now = time.time()
    try:
        key, text = make_key(options, now)
        execute(CreateKey(key=key, actor=_ACTOR))
    except (Wrong, Refused, WriterAway, SQLAlchemyError) as error:
        return fail(told(error))
    say(text)
    say()
    say(f"This is the key '{key.name}' of project '{key.project}'. It is shown this once.")
    say(f"Scopes: {', '.join(key.scopes)}.  {_limits(key)}.  Valid {_validity(key)}.  Id: {key.id}")
    for text in doubts(key, options):
        warn(text)
    return 0


def make_key(options: Namespace, now: float) -> tuple[Key, str]:
    """The key to store and its text. Raises Wrong."""
    for option in ("name", "project"):
        if not _NAME.fullmatch(getattr(options, option)):
            raise Wrong(f"--{option} '{getattr(options, option)}' is not a name: use letters, digits, . _ -")
    scopes = _words(options.scopes)
    if not scopes or not set(scopes) <= set(SCOPES):
        raise Wrong(f"--scopes takes {', '.join(SCOPES)}, separated by commas.")
    fresh = new_key("inference")
    key = Key(
        id=f"key_{secrets.token_hex(8)}",
        name=options.name,
        project=options.project,
        digest=fresh.digest,
        hint=fresh.hint,
        scopes=scopes,
        models=_words(options.models),
        requests_per_minute=_count("--rpm", options.rpm, "unlimited"),
        created_at=now,
        expires_at=_expiry(options.expires, now),
        revoked_at=None,
        tokens_per_minute=_count("--tpm", options.tpm, "unlimited"),
        concurrency=_count("--concurrency", options.concurrency, "unlimited"),
        budget_usd_day=_dollars("--budget-usd-day", options.budget_usd_day),
        budget_usd_month=_dollars("--budget-usd-month", options.budget_usd_month),
    )
    return key, fresh.text


def list_keys(options: Namespace) -> int:
    now = time.time()
    try:
        keys = made_keys(Home.from_env())
    except SQLAlchemyError as error:
        return fail(told(error))
    written = _written(options)
    shown = [key for key in keys if getattr(options, "all", False) or state_of(key, now) == "valid"]
    if not shown and not written:
        say("There are no keys. Make one with: understudy keys create --name app")
    both: list[Key | YamlKey] = [*shown, *written]
    for key in sorted(both, key=lambda one: (one.project, one.name)):
        say(_line(key, now))
    return 0


def _written(options: Namespace) -> list[YamlKey]:
    """The keys of the policies; of policies that cannot be read it is said that theirs are missing here."""
    folder = policies_of(options)
    try:
        return read(folder, os.environ).config.keys
    except PolicyError:
        warn("the policies cannot be read, so the keys in them are not listed. Run: understudy check")
        return []


def _line(key: Key | YamlKey, now: float) -> str:
    """A key without its text."""
    scopes: tuple[str, ...] = SCOPES
    hint, state = "in the policies", "valid without end"
    if isinstance(key, Key):
        hint, scopes, state = key.hint, key.scopes, f"{state_of(key, now)} {_validity(key)}"
    models = ",".join(key.models) or "all models"
    return f"{key.id}  {key.project}/{key.name}  {hint}  {','.join(scopes)}  {models}  {_limits(key)}  {state}"


def revoke(options: Namespace) -> int:
    try:
        key = execute(RevokeKey(ref=options.ref, actor=_ACTOR, at=time.time()))
    except Refused as error:
        return fail(_elsewhere(options) or told(error))
    except (WriterAway, SQLAlchemyError) as error:
        return fail(told(error))
    say(f"Revoked: {key.project}/{key.name} ({key.hint}). Running gateways refuse it within seconds.")
    return 0


def rotate(options: Namespace) -> int:
    """A new text for a key: the same id, limits and budgets, so that nothing starts afresh."""
    fresh = new_key("inference")
    try:
        grace = _hours(options.grace)
        key = execute(RotateKey(
            ref=options.ref, digest=fresh.digest, hint=fresh.hint, actor=_ACTOR, at=time.time(), grace_s=grace * HOUR_S
        ))  # fmt: skip
    except Refused as error:
        return fail(_elsewhere(options) or told(error))
    except (Wrong, WriterAway, SQLAlchemyError) as error:
        return fail(told(error))
    say(fresh.text)
    say()
    say(f"This is the new text of the key '{key.name}' of project '{key.project}'. It is shown this once.")
    say(
        f"The old one is accepted for {counted(grace, 'more hour')}."
        if grace
        else "The old one is refused from now on."
    )
    return 0


def _elsewhere(options: Namespace) -> str:
    """Where a key is changed that the policies have and no command knows; "" for every other name."""
    if not any(options.ref in (key.id, key.name) for key in _written(options)):
        return ""
    return f"the key '{options.ref}' stands in the policies: change it or take it out there, and running gateways know."


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _count(option: str, text: str, endless: str) -> int | None:
    if text == endless:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise Wrong(f"{option} '{text}' is neither a whole number above 0 nor '{endless}'.")
    return int(text)


def _dollars(option: str, text: str) -> float | None:
    if text == "unlimited":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1_000_000:
        raise Wrong(f"{option} '{text}' is neither US dollars above 0 (a million at most) nor 'unlimited'.")
    return value


def _hours(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 24 * 90:
        raise Wrong(f"--grace '{text}' is not a number of hours from 0 to {24 * 90}.")
    return value


def _expiry(text: str, now: float) -> float | None:
    days = _count("--expires", text, "never")
    return None if days is None else now + days * DAY_S


def _limits(key: Key | YamlKey) -> str:
    shown = [
        f"{counted(value, noun)} a minute"
        for value, noun in ((key.requests_per_minute, "request"), (key.tokens_per_minute, "token"))
        if value is not None
    ]
    shown += [f"{key.concurrency:,} at once"] if key.concurrency is not None else []
    shown += [
        f"{counted(value, 'US dollar')} a {period}"
        for value, period in ((key.budget_usd_day, "day"), (key.budget_usd_month, "month"))
        if value is not None
    ]
    return ", ".join(shown) or "No limit"


def _validity(key: Key) -> str:
    if key.expires_at is None:
        return "without end"
    return f"until {time.strftime('%Y-%m-%d', time.gmtime(key.expires_at))}"
