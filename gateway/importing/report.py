"""What an import found and did, for people and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from gateway.importing.shapes import Columns
from gateway.importing.tables import Layout
from gateway.protocol.counted import counted

_TOLD, _SHOWN, _WIDTH = 50, 3, 70


@dataclass(slots=True)
class Report:
    """Counts of one source. ``fingerprints``: how many calls look like which requests; ``unknown`` of those were not
    seen among the task's own calls."""

    source: str
    layout: Layout | None = None
    columns: Columns | None = None
    read: int = 0
    new: int = 0
    known: int = 0
    repeated: int = 0
    weightless: int = 0
    bad: int = 0
    problems: list[tuple[int, str]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    fingerprints: Counter[str] = field(default_factory=Counter)
    unknown: set[str] = field(default_factory=set)
    preview: list[tuple[str, str]] = field(default_factory=list)
    dry: bool = False

    def wrong(self, number: int, why: str) -> None:
        self.bad += 1
        if len(self.problems) < _TOLD:
            self.problems.append((number, why))

    def show(self, text: str, answer: str) -> None:
        """Masked texts of the first rows."""
        if len(self.preview) < _SHOWN:
            self.preview.append((_short(text), _short(answer)))

    def data(self) -> dict[str, Any]:
        layout = self.layout
        return {
            "source": self.source,
            "form": layout.form if layout else None,
            "encoding": layout.encoding if layout else None,
            "separator": layout.separator if layout else None,
            "columns": {"input": self.columns.input, "answer": self.columns.answer} if self.columns else None,
            "read": self.read, "new": self.new, "known": self.known, "repeated": self.repeated,
            "weightless": self.weightless, "bad": self.bad, "dry_run": self.dry,
            "kinds": dict(self.kinds),
            "problems": [{"line": number, "message": why} for number, why in self.problems],
            "fingerprints": dict(self.fingerprints), "unknown_fingerprints": sorted(self.unknown),
            "preview": [{"input": text, "answer": answer} for text, answer in self.preview],
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The report for a terminal."""
        told = [f"{self.source}: {self._how()}"]
        told += [f"  {text}  →  {answer}" for text, answer in self.preview]
        verb = "would be new" if self.dry else "new"
        told.append(
            f"  {counted(self.read, 'row')}: {self.new:,} {verb}, {self.known:,} here already, "
            f"{self.repeated:,} repeating another row, {self.weightless:,} without weight, {self.bad:,} unusable"
        )
        told += [f"  line {number}: {why}" for number, why in self.problems]
        if self.bad > len(self.problems):
            told.append(f"  and {self.bad - len(self.problems):,} more")
        for one in sorted(self.unknown):
            told.append(
                f"  {self.fingerprints[one]:,} of them look like no request of this task so far ({one}): a student "
                "for its own calls will not learn from them"
            )
        return told

    def _how(self) -> str:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.most_common())
        if self.layout is None:
            return kinds or "nothing"
        separated = f" by {self.layout.separator!r}" if self.layout.separator else ""
        which = f"; '{self.columns.input}' was asked, '{self.columns.answer}' answered" if self.columns else ""
        return f"{self.layout.form}{separated}, {self.layout.encoding}{which}{'; ' + kinds if kinds else ''}"


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _WIDTH else plain[: _WIDTH - 1] + "…"
