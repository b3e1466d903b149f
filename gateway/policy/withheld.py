"""An environment without secrets, for processes that call nobody: the trainer, and the engines of students.

The policies name their secrets as ``${NAME}``, and the trainer reads the same policies. In its environment those
variables are missing, and :data:`MARK` names them, so that the policies are read with a text of the same kind in
the place of each.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

MARK = "UNDERSTUDY_WITHHELD"
"""The names of the variables that were withheld, with commas between them."""

_SECRET = frozenset((
    "access_key_id", "api_key", "api_keys", "headers", "key", "secret", "secret_access_key", "service_account",
    "session_token",
))  # fmt: skip
"""Fields of the policies whose values open something."""
_ADMINS = {"UNDERSTUDY_ADMIN_KEY", "UNDERSTUDY_ADMIN_TOTP"}
_LOOKS_SECRET = re.compile(r"(^|_)(API_?KEY|KEY|KEYS|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS)(_|$)")
_KEPT = ("UNDERSTUDY_SPOOL_KEY", "RAY_")
"""The first seals what the data directory holds, the others are a cluster's, which an operator chose to join."""


def withheld(folder: Path, env: Mapping[str, str], *, all_secrets: bool = True) -> frozenset[str]:
    """The variables of ``env`` that hold secrets: those that the policies in ``folder`` use as such, and, with
    ``all_secrets``, those whose names say so and that the policies do not use as anything else. Raises PolicyError."""
    secret, plain = _used(folder)
    looks = {name for name in env if all_secrets and _LOOKS_SECRET.search(name.upper())}
    found = (secret | (looks - plain) | _ADMINS) & set(env)
    return frozenset(name for name in found if not name.startswith(_KEPT))


def without(env: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """``env`` without ``names``, and with what tells the process that they were there."""
    gone = sorted(names)
    return {name: text for name, text in env.items() if name not in gone} | {MARK: ",".join(gone)}


def stood_in(env: Mapping[str, str]) -> dict[str, str]:
    """``env`` with a text in the place of each variable that was withheld, for reading the policies."""
    names = [name for name in env.get(MARK, "").split(",") if name and name not in env]
    return dict(env) | {name: f"withheld-{hashlib.sha256(name.encode()).hexdigest()[:40]}" for name in names}


def _used(folder: Path) -> tuple[set[str], set[str]]:
    """The variables that the policies use: as secrets, and as anything else."""
    from gateway.policy.files import contents_of  # the supervisor only passes on what was found
    from gateway.policy.reading import Source, read_file

    source = Source()
    for name, content in contents_of(folder).items():
        read_file(source, name, content, {})
    secret, plain = set[str](), set[str]()
    for place, names in source.named.items():
        (secret if _is_secret(place) else plain).update(names)
    return secret, plain - secret


def _is_secret(place: tuple[str | int, ...]) -> bool:
    """Beyond the section and the name or number of the entry."""
    return any(part in _SECRET for part in place[2:])
