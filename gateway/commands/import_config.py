"""``understudy import-config``: another gateway's configuration as policies of ours."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

from gateway.commands.common import fail, say
from gateway.policy.files import PolicyError, read
from gateway.policy.imported.carried import Carried, rendered
from gateway.policy.imported.litellm import NotTheirs, from_litellm
from gateway.protocol.counted import counted

_LARGEST = 4 * 1024 * 1024


def import_config(options: Namespace) -> int:
    """Exit status 1 when nothing was written, or when what was written needs a hand before it can be used."""
    source, folder = Path(options.file), Path(options.out)
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else (folder,)):
        return fail(f"{folder} exists and is not empty: name a new folder with --out DIR.")
    try:
        carried = from_litellm(_parsed(source))
    except OSError as error:
        return fail(f"{source} cannot be read: {error.strerror}.")
    except NotTheirs as error:
        return fail(f"{source}: {error}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gateway.yaml").write_text(
            rendered(carried.gateway, f"Carried over from {source.name}."), "utf-8"
        )
        (folder / "routing.yaml").write_text(
            rendered(carried.routing, f"Carried over from {source.name}."), "utf-8"
        )
    except OSError as error:
        return fail(f"{folder} cannot be written: {error.strerror}.")
    _tell(carried, folder)
    return _judged(folder, carried)


def _parsed(source: Path) -> Any:
    with source.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise NotTheirs("it is larger than 4 MiB.")
    try:
        return yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise NotTheirs(f"it is not YAML{where}.") from None


def _tell(carried: Carried, folder: Path) -> None:
    tasks, providers = len(carried.routing.get("tasks", ())), len(carried.gateway.get("providers", ()))
    say(f"{folder}: {counted(providers, 'provider')} and {counted(tasks, 'task')} written.")
    if carried.variables:
        say("\nSet in the environment:")
        for name, stands_for in carried.variables.items():
            say(f"  {name}  {stands_for}")
    if carried.left:
        say("\nNot carried over:")
        reasons = defaultdict(list)
        for one in dict.fromkeys(carried.left):
            reasons[one.why].append(one.where)
        for why, places in reasons.items():
            for where in places:
                say(f"  {where}: {why}")


def _judged(folder: Path, carried: Carried) -> int:
    """Reads what was written as the gateway would, with every variable taken for set."""
    env = {name: f"unset-{number:04}-placeholder" for number, name in enumerate(carried.variables)}
    providers = carried.gateway.get("providers", {}).values()
    addresses, accounts = (" ".join(one.get(name, "") for one in providers) for name in ("base_url", "service_account"))
    env |= {name: "https://example.invalid" for name in env if f"${{{name}}}" in addresses}
    env |= {name: _some_account() for name in env if f"${{{name}}}" in accounts}
    try:
        loaded = read(folder, {**env, **{name: os.environ[name] for name in env if name in os.environ}})
    except PolicyError as error:
        say("\nThese need a hand before the gateway takes them:")
        for problem in error.problems:
            say(f"  {problem}")
        return 1
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    say(f"\nThe policies are good. Start with: understudy --policies {folder}")
    return 0


def _some_account() -> str:
    """A service account's key that opens nothing, in the place of one that is not set yet."""
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps({"client_email": "nobody@example.invalid", "private_key": pem, "project_id": "none"})
