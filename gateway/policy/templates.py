"""Sets of guardrails to start from: ``templates: [default]`` stands for the entries of a shipped file."""

from __future__ import annotations

from functools import cache
from pathlib import Path as File
from typing import Any

from gateway import guardrails
from gateway.policy.convert import did_you_mean
from gateway.policy.reading import Source, read_file

_FOLDER = File(guardrails.__file__).parent / "templates"


@cache
def templates() -> tuple[str, ...]:
    """The names there are."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.yaml")))


def expand(source: Source) -> None:
    """Adds the guardrails of every template that ``source`` names. What is written under the same name in the
    policies stands; of two templates with one name the first."""
    named = source.data.get("templates")
    section: Any = source.data.setdefault("guardrails", {}) if named else None
    if section is None and named:  # 'guardrails:' with every entry commented out
        section = source.data["guardrails"] = {}
    if not isinstance(named, list) or not isinstance(section, dict):
        return
    for index, name in enumerate(named):
        if name not in templates():
            hint = did_you_mean(name, templates())
            source.problems.append(
                source.problem(("templates", index), f"there is no template '{name}'.", hint)
            )
            continue
        shipped = _read(str(name))
        for guard, settings in shipped.data["guardrails"].items():
            if guard in section:
                continue
            section[guard] = settings
            path = ("guardrails", guard)
            source.places.update({at: place for at, place in shipped.places.items() if at[:2] == path})


def _read(name: str) -> Source:
    source = Source()
    read_file(source, f"templates/{name}.yaml", (_FOLDER / f"{name}.yaml").read_bytes(), {})
    return source
