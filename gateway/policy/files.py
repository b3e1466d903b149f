"""Reads ``policies/*.yaml`` into :class:`gateway.config.Config` and watches the folder for changes.

Loading is all or nothing: every mistake of every file is collected and raised at once, and a bad edit while
the gateway runs leaves the last good configuration in force.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.access.origins import ANY
from gateway.config import Config
from gateway.policy.checks import check
from gateway.policy.convert import convert
from gateway.policy.guard_checks import unread_documents
from gateway.policy.key_checks import Named, named_callers, unserved_models
from gateway.policy.reading import MAX_FILE_BYTES, Problem, Source, read_file
from gateway.policy.templates import expand
from gateway.policy.timing_checks import vain_times
from gateway.providers.credentials import keys_of

_log = logging.getLogger("understudy.policies")
_MAX_FILES = 100

__all__ = ["Loaded", "PolicyError", "PolicyWatcher", "Problem", "contents_of", "load", "read"]


class PolicyError(Exception):
    """The policies cannot be used. ``problems`` holds every one of them, ordered by file and line."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and what its author should know about it although it works."""

    config: Config
    warnings: tuple[Problem, ...]
    callers: tuple[Named, ...] = ()
    """Whom the policies name and have no key of."""


def load(folder: Path, env: Mapping[str, str]) -> Config:
    """The configuration in ``folder``; warnings go to the log. Raises PolicyError."""
    loaded = read(folder, env)
    for warning in loaded.warnings:
        _log.warning("%s", warning)
    return loaded.config


def read(folder: Path, env: Mapping[str, str]) -> Loaded:
    """The configuration in ``folder`` and its warnings. Raises PolicyError."""
    return _parse(folder, contents_of(folder), env)


def contents_of(folder: Path) -> dict[str, bytes]:
    """File names with their bytes, in name order. Raises PolicyError when there is nothing to read."""
    shown = _shown(folder)
    try:
        files = sorted(path for path in folder.glob("*.yaml") if path.is_file())
        contents = {path.name: _bytes(path) for path in files[: _MAX_FILES + 1]}
    except OSError as error:
        raise PolicyError((Problem(shown, 0, "", f"cannot be read: {error.strerror}."),)) from None
    if not folder.is_dir():
        hint = "Name the folder with --policies DIR."
        raise PolicyError((Problem(shown, 0, "", "there is no such folder.", hint),))
    if not contents or len(contents) > _MAX_FILES:
        message = f"holds over {_MAX_FILES} *.yaml files." if contents else "holds no *.yaml file."
        raise PolicyError((Problem(shown, 0, "", message, "Name the folder with --policies DIR."),))
    return contents


def _bytes(path: Path) -> bytes:
    """At most one byte more than a policy file may have, so that a wrong file cannot fill the memory."""
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def _shown(folder: Path) -> str:
    """The folder as it is named in messages: relative to where we run, else by its own name."""
    try:
        return folder.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return folder.name


def _digest(contents: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name, content in sorted(contents.items()):
        whole.update(f"{len(name)}:{name}{len(content)}:".encode())
        whole.update(content)
    return whole.hexdigest()[:16]


def _parse(folder: Path, contents: Mapping[str, bytes], env: Mapping[str, str]) -> Loaded:
    shown = _shown(folder)
    prefix = "" if shown == "." else f"{shown}/"
    source = Source()
    for name, content in contents.items():
        source.places.setdefault((), (f"{prefix}{name}", 1))
        read_file(source, f"{prefix}{name}", content, env)
    expand(source)
    warnings, disabled = _unset(source)
    converted = convert(source)
    disabled = tuple(sorted({*disabled, *_keyless(source, converted.sections.get("providers", {}))}))
    config = Config(**converted.sections, disabled_providers=disabled, digest=_digest(contents))
    problems = list(source.problems)
    if not source.unread:  # else whatever stands there would be missed everywhere
        problems += check(config, source, converted, env)
    if problems:
        raise PolicyError(tuple(sorted(dict.fromkeys(problems))))
    more = (_idle_lessons, _open_to_all, unread_documents, unserved_models, vain_times)
    told = (*warnings, *(one for warn in more for one in warn(config, source)))
    return Loaded(config=config, warnings=told, callers=named_callers(config, source))


def _keyless(source: Source, providers: Mapping[str, Any]) -> Iterator[str]:
    """The providers of whose keys none is left."""
    named = {str(path[1]) for path in source.unset if path[0] == "providers" and "api_keys" in path}
    return (name for name in named if name in providers and not keys_of(providers[name]))


def _unset(source: Source) -> tuple[list[Problem], tuple[str, ...]]:
    """Warnings and the disabled providers. Keys whose variable is unset are left out."""
    warnings: list[Problem] = []
    disabled: list[str] = []
    for path, variable in source.unset.items():
        if path[0] == "providers" and len(path) > 3 and path[2] == "api_keys":
            message = f"this key is left out because ${variable} is not set in the environment."
            warnings.append(source.problem(path, message))
        elif path[0] == "providers" and len(path) > 1:
            message = f"provider '{path[1]}' is disabled because ${variable} is not set in the environment."
            warnings.append(source.problem(path, message))
            disabled.append(str(path[1]))
        elif path[0] == "keys" and len(path) == 3 and path[2] == "key":
            message = f"this key is left out because ${variable} is not set in the environment."
            warnings.append(source.problem(path, message))
            source.left_out.add(path[:2])
        else:
            hint = "Set it, or write the value here."
            message = f"${variable} is not set in the environment."
            source.problems.append(source.problem(path, message, hint))
    return warnings, tuple(sorted(set(disabled)))


def _open_to_all(config: Config, source: Source) -> Iterator[Problem]:
    """A star is right for a public API whose keys are its users' own, and rarely meant otherwise."""
    if ANY in config.server.cors_origins:
        message = "pages of every origin may call the API and read its answers, with whatever key they have."
        yield source.problem(("server", "cors_origins"), message, "List the origins of your own pages instead.")


def _idle_lessons(config: Config, source: Source) -> list[Problem]:
    """Tasks that would learn but whose teacher is disabled: they serve and learn nothing."""
    found = []
    for index, task in enumerate(config.tasks):
        if task.learn and task.teacher and task.teacher.provider in config.disabled_providers:
            message = f"task '{task.name}' learns nothing while its teacher's provider is disabled."
            found.append(source.problem(("tasks", index, "teacher"), message))
    return found


class PolicyWatcher:
    """Notices that the folder has changed. Keeps the last good configuration and why a newer one was refused.

    A change is read once two looks in a row see the same files, so that a half-written file is never judged.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], config: Config, *, now: float) -> None:
        self._folder = folder
        self._env = dict(env)
        self._config = config
        self._loaded_at = now
        self._problem = ""
        self._seen = self._signature()
        self._judged: tuple[object, ...] = ()
        if self._digest_now() == config.digest:
            self._judged = self._seen

    @property
    def config(self) -> Config:
        return self._config

    @property
    def problem(self) -> str:
        """Why the newest files are not in force; "" when they are."""
        return self._problem

    def status(self) -> dict[str, str]:
        """``{"digest", "loaded_at", "problem"}`` as :class:`gateway.control.Control` reports it."""
        loaded_at = datetime.fromtimestamp(self._loaded_at, UTC).isoformat(timespec="seconds")
        return {"digest": self._config.digest, "loaded_at": loaded_at, "problem": self._problem}

    def poll(self, now: float) -> Config | None:
        """The new configuration when a good one has come to rest on disk since the last look, else None."""
        signature = self._signature()
        settled, self._seen = signature == self._seen, signature
        if not settled or signature == self._judged:
            return None
        self._judged = signature
        try:
            contents = contents_of(self._folder)
            if _digest(contents) == self._config.digest:
                self._problem = ""
                return None
            loaded = _parse(self._folder, contents, self._env)
        except PolicyError as error:
            if str(error) != self._problem:
                _log.error("The policies have changed and are refused; the last good ones stay:\n%s", error)
            self._problem = str(error)
            return None
        for warning in loaded.warnings:
            _log.warning("%s", warning)
        self._config, self._loaded_at, self._problem = loaded.config, now, ""
        _log.info("The policies have changed: digest %s is in force.", loaded.config.digest)
        return loaded.config

    def _digest_now(self) -> str:
        try:
            return _digest(contents_of(self._folder))
        except PolicyError:
            return ""

    def _signature(self) -> tuple[object, ...]:
        found = []
        try:
            for path in sorted(self._folder.glob("*.yaml")):
                stat = path.stat()
                found.append((path.name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            return ("unreadable",)
        return tuple(found)
