"""Reads vendors' files: each once, when it is first asked for, and strictly."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
import yaml

from gateway.catalog.shapes import Vendor

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where PyYAML was built with it: ten times as fast, and files are read at every start."""
_FOLDER = files("gateway.catalog").joinpath("vendors")


class CatalogError(Exception):
    """A vendor's file that is not as it must be: the file, the place in it, what is wrong."""


@cache
def vendors() -> tuple[str, ...]:
    """The names of all vendors, which are those of their files."""
    return tuple(sorted(one.name[:-5] for one in _FOLDER.iterdir() if one.name.endswith(".yaml")))


@cache
def vendor(name: str) -> Vendor | None:
    """What is known of a vendor; None for one that has no file. Raises CatalogError."""
    if name not in vendors():
        return None
    return parsed(name, _FOLDER.joinpath(f"{name}.yaml").read_text(encoding="utf-8"))


def parsed(name: str, text: str) -> Vendor:
    """A file's text as a value. Raises CatalogError for whatever is not by the schema."""
    try:
        found = msgspec.convert(_LOADER(text).get_single_data(), Vendor)
    except (yaml.YAMLError, msgspec.ValidationError) as problem:
        raise CatalogError(f"gateway/catalog/vendors/{name}.yaml: {problem}") from None
    for fault in found.faults():
        raise CatalogError(f"gateway/catalog/vendors/{name}.yaml: {fault}")
    return found
