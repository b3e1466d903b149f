"""What was carried over from another gateway's configuration, and what was not."""

from __future__ import annotations

import math
from typing import Any

import yaml
from msgspec import Struct, field


class Left(Struct, frozen=True, order=True):
    """Something of theirs that has no place here, or only another one. ``where`` is its path in their file."""

    where: str
    why: str


class Carried(Struct):
    """Sections of our configuration as they are found, with everything that could not come along.

    ``variables``: environment variables to set, by name, with what they stand for. Secrets themselves are never
    copied: whatever their file spells out becomes a variable here.
    """

    gateway: dict[str, Any] = field(default_factory=dict)
    routing: dict[str, Any] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    def leave(self, where: str, why: str) -> None:
        self.left.append(Left(where, why))

    def section(self, name: str) -> dict[str, Any]:
        """A map of ``gateway.yaml`` that entries are added to."""
        found: dict[str, Any] = self.gateway.setdefault(name, {})
        return found


def amount(value: Any) -> float | int | None:
    """A number of theirs, 0 or more; YAML reads ``1e-6`` as a text, and people write numbers in quotes."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
        value = int(value) if value.is_integer() else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if value >= 0 else None


def rendered(sections: dict[str, Any], title: str) -> str:
    """One policy file as text: a heading, then the sections in the order they were made."""
    heading = f"# {title}\n# `understudy check --policies DIR` validates this folder.\n\n"
    body = (
        yaml.dump(sections, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110) if sections else ""
    )
    return heading + body


class _Plain(yaml.SafeDumper):
    """Writes a value each time it occurs: anchors are hard to edit."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
