"""What the pages show: their fenced blocks, with what each leaves to the reader filled in."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from gateway.config import Config, Task

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
CURRENT = [page for page in PAGES if page.name not in {"CHANGELOG.md", "experiments.md"}]
"""Those that speak of today; the others tell what was."""
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_SECTIONS = {one.name for one in msgspec.structs.fields(Config)} - {"digest", "disabled_providers"}
OPENAI = {"provider": "openai", "model": "gpt-4o", "may_train_on_outputs": True}
_OF_A_TASK = {one.name for one in msgspec.structs.fields(Task)}


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    """Of the block's first line, from 1."""
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """Every fenced block of every page in one of the languages ("" for none)."""
    return [one for page in PAGES for one in _of(page) if one.language in languages]


def prose(page: Path) -> str:
    """The sentences and tables of a page, without its blocks."""
    return _FENCE.sub("", TEXTS[page])


def inline(page: Path) -> Iterator[str]:
    """What stands between backticks in them."""
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(page))


def _of(page: Path) -> Iterator[Block]:
    text = TEXTS[page]
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 2
        yield Block(page.relative_to(ROOT).as_posix(), line, found[2], textwrap.dedent(found[3]))


def policies_of(block: Block) -> dict[str, Any]:
    """The block as whole policies: what it names and does not show is there, with nothing of note about it."""
    data = yaml.safe_load(block.text)
    assert isinstance(data, dict), f"{block}: not a map"
    if not data.keys() <= _SECTIONS:
        assert data.keys() <= _OF_A_TASK, (
            f"{block}: {data.keys() - _OF_A_TASK} is neither a section nor of a task"
        )
        data = {"tasks": [data]}
    for number, task in enumerate(data.get("tasks", [])):
        task.setdefault("name", f"task-{number}")
        if not task.keys() & {"policy", "candidates", "teacher"} or (
            "learn" in task and "teacher" not in task
        ):
            task["teacher"] = OPENAI
        if "learn" in task:
            task.setdefault("capture", {"rate": 1.0})
    providers = data.setdefault("providers", {})
    tables = {name for section in ("prices", "models", "upstreams") for name in data.get(section, {})}
    for name in sorted({"openai", *tables, *_named(data, "provider")}):
        providers.setdefault(
            name, {"type": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "sk-pages"}
        )
    policies, tasks = data.setdefault("policies", []), data.setdefault("tasks", [])
    for name in sorted(
        {name for guard in data.get("guardrails", {}).values() for name in guard.get("tasks", [])}
    ):
        tasks.append({"name": name, "teacher": OPENAI})
    for name in sorted({name for task in data["tasks"] for name in task.get("guardrails", [])}):
        data.setdefault("guardrails", {}).setdefault(name, {"type": "pii"})
    for name in sorted({*_named(data, "policy")} - {one["name"] for one in policies}):
        policies.append({"name": name, "candidates": [{"provider": "openai", "model": "gpt-4o"}]})
    return data


def _named(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key and isinstance(inner, str):
                yield inner
            else:
                yield from _named(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, key)
