"""What every check looks at: the configuration beside the raw data that it was read from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.config import Config
from gateway.policy.convert import Converted
from gateway.policy.reading import Path, Problem, Source


class View:
    """The configuration beside the raw data it was read from."""

    def __init__(self, config: Config, source: Source, converted: Converted, env: Mapping[str, str]) -> None:
        self.config, self.env = config, env
        self.source = source
        self.unclean = converted.unclean
        self.entries = converted.entries
        self.disabled = set(config.disabled_providers)

    def names(self, section: str) -> list[str]:
        """All names that are written in a section, those of broken entries too."""
        data = self.source.data.get(section)
        if isinstance(data, dict):
            return list(data)
        return [str(one["name"]) for _, one in self.written(section) if "name" in one]

    def written(self, section: str) -> Iterator[tuple[int, dict[str, Any]]]:
        data = self.source.data.get(section)
        for index, one in enumerate(data if isinstance(data, list) else []):
            if isinstance(one, dict):
                yield index, one

    def clean(self, section: str) -> Iterator[tuple[Path, Any]]:
        """The entries of a list section that were read without a mistake, with their paths."""
        for path, entry in self.entries.items():
            if path[0] == section and path not in self.unclean:
                yield path, entry

    def unset(self, path: Path) -> str:
        """The first variable at or below ``path`` that is not set in the environment, or ""."""
        found = (name for one, name in self.source.unset.items() if one[: len(path)] == path)
        return next(found, "")

    def problem(self, path: Path, message: str, hint: str = "") -> Problem:
        return self.source.problem(path, message, hint)
