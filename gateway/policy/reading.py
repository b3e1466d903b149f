"""YAML as plain data that remembers where each value was written.

PyYAML's safe loader is used only to compose nodes, so every key, list item and scalar keeps its file and
line; the walk below turns them into dicts, lists and scalars, resolves ``${NAME}`` from the environment and
refuses what a policy never needs: duplicate keys, merge keys, custom tags, numbers that are not finite, and
alias bombs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from msgspec import Struct

MAX_FILE_BYTES = 1024 * 1024
MAX_NODES = 50_000
MAX_DEPTH = 40

Path = tuple[str | int, ...]
"""Where a value stands in the merged tree: ``("tasks", 0, "policy")``."""

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_UNCLOSED = re.compile(r"\$\{[A-Za-z_]\w*")
_SCALARS = {"null", "bool", "int", "float", "str", "timestamp"}
_PREFIX = "tag:yaml.org,2002:"
_COLLECTIONS = {_PREFIX + "map", _PREFIX + "seq"}


class Problem(Struct, frozen=True, order=True):
    """One thing wrong with the policies. ``line`` counts from 1; ``path`` is dotted, "" for a whole file."""

    file: str
    line: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        path = f"{self.path}: " if self.path else ""
        return f"{where}{path}{self.message}" + (f" {self.hint}" if self.hint else "")


def dotted(path: Path) -> str:
    """``("tasks", 0, "policy")`` as ``tasks[0].policy``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


@dataclass(slots=True)
class Source:
    """The merged tree of all files, where each value stands, and what was found wrong while reading.

    ``unset`` lists the variables that were not in the environment, by the path of the value that names them;
    such a value reads as "". ``named`` are all variables, by the same paths. ``left_out`` are entries that are passed
    over. ``unread``: a whole file could not be read, so nobody knows what is missing.
    """

    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Path, tuple[str, int]] = field(default_factory=dict)
    unset: dict[Path, str] = field(default_factory=dict)
    named: dict[Path, set[str]] = field(default_factory=dict)
    left_out: set[Path] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    unread: bool = False

    def problem(self, path: Path, message: str, hint: str = "") -> Problem:
        """A problem at ``path``, or at the nearest written value around it."""
        file, line = self.place(path)
        return Problem(file=file, line=line, path=dotted(path), message=message, hint=hint)

    def place(self, path: Path) -> tuple[str, int]:
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return self.places.get((), ("policies", 0))


_YAML_WORDS = {
    "'<scalar>'": "a value", "'<stream end>'": "the end of the file",
    "'<block mapping start>'": "a line that is indented otherwise",
    "'<block end>'": "a line that is indented otherwise", "<block end>": "the next entry",
}  # fmt: skip


def read_file(source: Source, file: str, content: bytes, env: Mapping[str, str]) -> None:
    """Adds one file's top-level sections to ``source``; what is wrong goes to ``source.problems``."""
    before = len(source.problems)
    node, loader = _compose(source, file, content)
    if node is None:
        source.unread |= len(source.problems) > before
        return
    if not isinstance(node, yaml.MappingNode):
        source.unread = True
        source.problems.append(
            Problem(
                file, node.start_mark.line + 1, "", "a policy file is a map of sections, such as 'tasks:'."
            )
        )
        return
    walk = _Walk(source=source, file=file, env=env, loader=loader)
    sections = walk.mapping(node, (), 0)
    source.data.update(sections)


def _compose(source: Source, file: str, content: bytes) -> tuple[yaml.Node | None, yaml.SafeLoader]:
    if len(content) > MAX_FILE_BYTES:
        message = f"the file is larger than the {MAX_FILE_BYTES:,} bytes a policy file may have."
        source.problems.append(Problem(file, 1, "", message))
        return None, yaml.SafeLoader("")
    try:
        loader = yaml.SafeLoader(content.decode("utf-8"))
        return loader.get_single_node(), loader
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        source.problems.append(Problem(file, line, "", "the file is not valid UTF-8.", "Save it as UTF-8."))
    except RecursionError:
        source.problems.append(Problem(file, 1, "", f"the file is nested deeper than {MAX_DEPTH} levels."))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        text = error.problem or error.context or "the YAML cannot be read"
        for theirs, ours in _YAML_WORDS.items():
            text = text.replace(theirs, ours)
        if error.context_mark is not None and mark is not None and error.context_mark.line < mark.line:
            text += f", in what begins on line {error.context_mark.line + 1}"
        hint = 'Inside { } and [ ], write variables in quotes: "${NAME}".' if b"${" in content else ""
        source.problems.append(
            Problem(file, (mark.line if mark else 0) + 1, "", f"not valid YAML: {text}.", hint)
        )
    except (yaml.YAMLError, ValueError):
        source.problems.append(
            Problem(file, 1, "", "not valid YAML: it holds a character that YAML forbids.")
        )
    return None, yaml.SafeLoader("")


@dataclass(slots=True)
class _Walk:
    """Turns the nodes of one file into data. Shared (aliased) nodes count each time they are met."""

    source: Source
    file: str
    env: Mapping[str, str]
    loader: yaml.SafeLoader
    nodes: int = 0
    stopped: bool = False

    def mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if self.stopped:
                break
            key = self._key(key_node, path)
            if key is None:
                continue
            here = (*path, key)
            if key in found or (not path and key in self.source.data):
                self._duplicate(key_node, here)
                continue
            is_scalar = isinstance(value_node, yaml.ScalarNode)
            self.source.places[here] = (
                self.file,
                (value_node if is_scalar else key_node).start_mark.line + 1,
            )
            found[key] = self.value(value_node, here, depth + 1)
        return found

    def value(self, node: yaml.Node, path: Path, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            if not self.stopped:
                limit = (
                    f"deeper than {MAX_DEPTH} levels" if depth > MAX_DEPTH else f"over {MAX_NODES:,} values"
                )
                self._add(node, path, f"the file unfolds to {limit}; aliases that multiply are refused.")
            self.stopped = True
            return None
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
            self._refuse_tag(node, path)
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self.source.places[(*path, index)] = (self.file, item.start_mark.line + 1)
                items.append(self.value(item, (*path, index), depth + 1))
            return items
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._add(node, path, "a key must be plain text.")
            return None
        if node.tag == _PREFIX + "merge":
            self._add(node, (*path, "<<"), "merge keys are not supported.", "Write the fields out.")
            return None
        return str(node.value)

    def _duplicate(self, node: yaml.Node, path: Path) -> None:
        file, line = self.source.places[path]
        what = "section" if len(path) == 1 else "key"
        message = f"this {what} is already written at {file}:{line}."
        self._add(node, path, message, "Keep one of the two.")

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        kind = node.tag.removeprefix(_PREFIX)
        if not node.tag.startswith(_PREFIX) or kind not in _SCALARS:
            self._refuse_tag(node, path)
            return None
        if kind == "str" and "${" in node.value:
            return self._substituted(node, path)
        return self._constructed(node, kind, path)

    def _refuse_tag(self, node: yaml.Node, path: Path) -> None:
        self._add(node, path, f"the YAML tag {node.tag!r} is not allowed.", "Write a plain value.")

    def _constructed(self, node: yaml.ScalarNode, kind: str, path: Path) -> Any:
        if kind in {"str", "timestamp"}:
            return str(node.value)
        try:
            value = self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError, KeyError):
            self._add(node, path, f"{node.value!r} cannot be read as {kind}.", "Put text into quotes.")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._add(node, path, "a number must be finite.")
            return None
        return value

    def _substituted(self, node: yaml.ScalarNode, path: Path) -> Any:
        """A value with its variables filled in. A plain (unquoted) lone ``${NAME}`` keeps its YAML type."""
        missing = ""

        def fill(match: re.Match[str]) -> str:
            nonlocal missing
            name = match.group(1)
            if not _VARIABLE_NAME.match(name):
                self._add(
                    node,
                    path,
                    f"'${{{name}}}' is not a variable.",
                    "Write ${NAME} with letters, digits and _.",
                )
                return ""
            self.source.named.setdefault(path, set()).add(name)
            if not self.env.get(name):
                missing = missing or name
                return ""
            return self.env[name]

        text = _VARIABLE.sub(fill, node.value)
        if unclosed := _UNCLOSED.search(_VARIABLE.sub("", node.value)):
            self._add(node, path, f"'{unclosed[0]}' has no closing brace.", "Write ${NAME}.")
        if missing:
            self.source.unset[path] = missing
            return ""
        if node.style is None and _VARIABLE.fullmatch(node.value):
            tag = self.loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
            kind = tag.removeprefix(_PREFIX)
            if kind in {"int", "float", "bool"}:
                filled = yaml.ScalarNode(tag, text, node.start_mark, node.end_mark)
                return self._constructed(filled, kind, path)
        return text

    def _add(self, node: yaml.Node, path: Path, message: str, hint: str = "") -> None:
        line = node.start_mark.line + 1
        self.source.problems.append(Problem(self.file, line, dotted(path), message, hint))
