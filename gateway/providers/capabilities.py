"""What a model can do, as data: ``capabilities.yaml`` with a date and a source, and the operator's own entries."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
import yaml
from msgspec import Struct


class Ability(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry; the file explains the fields."""

    match: str
    thinking: Literal["none", "budget", "level", "optional", "adaptive", "always"] = "none"
    least: int = 0
    top_effort: Literal["high", "xhigh"] = "xhigh"
    sampling: bool = True
    forcing: bool = True
    structured: bool = True


class _Dialect(Struct, frozen=True, forbid_unknown_fields=True):
    as_of: str
    source: str
    models: list[Ability]


@cache
def shipped() -> dict[str, _Dialect]:
    text = Path(__file__).with_name("capabilities.yaml").read_text(encoding="utf-8")
    return msgspec.convert(yaml.safe_load(text), dict[str, _Dialect])


def abilities(dialect: str, own: list[Ability]) -> Callable[[str], Ability]:
    """The look-up for one provider: the first entry that fits a model's name, the operator's before ours."""
    entries = [*own, *shipped()[dialect].models]

    def find(model: str) -> Ability:
        return next((one for one in entries if fnmatchcase(model, one.match)), Ability(match=model))

    return find
