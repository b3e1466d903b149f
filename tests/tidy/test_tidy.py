"""The rules of the house: who may import whom, how long things may be, and what is never written."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway", "optimizer", "trainer", "admin_ui", "benchmarks")
LONGEST_FILE = 400
LONGEST_FUNCTION = 70

# The longest prefix that fits a module decides what of ours it may import.
MAY_IMPORT = {
    "gateway": ("gateway", "optimizer"),
    "gateway.protocol": ("gateway.protocol", "gateway.errors"),
    "gateway.errors": (),
    "gateway.texts": ("gateway.texts",),
    "gateway.local_models": ("gateway.local_models",),
    "gateway.concurrency.together": (),
    "gateway.processes.memory_share": (),
    "optimizer": ("optimizer",),
    "trainer": (
        "trainer", "optimizer", "gateway.protocol", "gateway.texts.masking", "gateway.config", "gateway.policy",
        "gateway.schemas", "gateway.storage", "gateway.errors", "gateway.local_models.encoder", "gateway.concurrency.together",
        "gateway.processes.memory_share",
    ),
    "admin_ui": ("admin_ui",),
    "benchmarks": ("benchmarks",),
    "benchmarks.statistics": ("benchmarks", "optimizer"),
    "benchmarks.simulator": ("benchmarks", "gateway"),
    "benchmarks.vectors": ("benchmarks", "gateway.caching", "gateway.sharing", "gateway.storage.spooling"),
    "benchmarks.semcache": ("benchmarks", "optimizer", "gateway.local_models.encoder"),
    "gateway.bootstrap": PACKAGES,
    "gateway.server": PACKAGES,
    "gateway.cli": PACKAGES,
}  # fmt: skip

WIRED = {"gateway.server", "gateway.cli", "benchmarks.simulator.world"}
"""Who builds a whole gateway; the simulator does, because its invariants look into the process."""

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
FORBIDDEN_WORDS = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")


@cache
def modules() -> dict[str, Path]:
    """Our modules by dotted name."""
    found: dict[str, Path] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


def imports(name: str, *, lazy: bool) -> Iterator[tuple[str, int]]:
    """(our module, line) for each import; ``lazy`` includes those inside functions, ``TYPE_CHECKING`` always in."""
    pending: list[ast.AST] = [tree_of(name)]
    while pending:
        node = pending.pop()
        if not lazy and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        pending.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (
                (alias.name, node.lineno) for alias in node.names if alias.name.split(".")[0] in PACKAGES
            )
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: write imports out, not relative"
            base = node.module or ""
            if base.split(".")[0] in PACKAGES:
                for alias in node.names:
                    whole = f"{base}.{alias.name}"
                    yield (whole if whole in modules() else base), node.lineno


def within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(f"{prefix}.")


def allowed_for(name: str) -> tuple[str, ...]:
    rule = max((prefix for prefix in MAY_IMPORT if within(name, prefix)), key=len)
    return MAY_IMPORT[rule]


def test_arrows() -> None:
    wrong = [
        f"{modules()[name].relative_to(ROOT)}:{line}: {name} must not import {target}"
        for name in modules()
        for target, line in imports(name, lazy=True)
        if not any(within(target, prefix) for prefix in allowed_for(name)) and not within(target, name)
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_the_trainer_or_the_wiring() -> None:
    wrong = []
    for name, path in modules().items():
        for target, line in imports(name, lazy=True):
            outside = within(target, "trainer") and not within(name, "trainer")
            wiring = within(target, "gateway.bootstrap") and name not in WIRED
            if outside or wiring:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {name} must not import {target}")
    assert not wrong, "\n".join(wrong)


def test_no_import_cycles() -> None:
    graph = {name: sorted({target for target, _ in imports(name, lazy=False)} - {name}) for name in modules()}
    rings = [" -> ".join(ring) for ring in cycles(graph)]
    assert not rings, "\n".join(rings)


def cycles(graph: dict[str, list[str]]) -> Iterator[list[str]]:
    """One ring for each back edge of a depth-first walk; none exactly when the graph has none."""
    done: set[str] = set()
    for start, first in graph.items():
        trail: list[str] = []
        pending = [(start, iter(first))] if start not in done else []
        if pending:
            trail.append(start)
        while pending:
            target = next(pending[-1][1], None)
            if target is None:
                pending.pop()
                done.add(trail.pop())
            elif target in trail:
                yield [*trail[trail.index(target) :], target]
            elif target not in done:
                trail.append(target)
                pending.append((target, iter(graph.get(target, []))))


def test_lengths() -> None:
    wrong = []
    for name, path in modules().items():
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > LONGEST_FILE:
            wrong.append(f"{path.relative_to(ROOT)}: {count} lines, {LONGEST_FILE} are allowed")
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                if size > LONGEST_FUNCTION:
                    where = f"{path.relative_to(ROOT)}:{node.lineno}"
                    wrong.append(f"{where}: {node.name} has {size} lines, {LONGEST_FUNCTION} are allowed")
    assert not wrong, "\n".join(wrong)


def test_nothing_dangerous() -> None:
    wrong = [
        f"{modules()[name].relative_to(ROOT)}:{line}: {what}"
        for name in modules()
        for line, what in dangers(tree_of(name))
    ]
    assert not wrong, "\n".join(wrong)


def dangers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            )
            yield from (
                (node.lineno, f"imports {one}") for one in names if one.split(".")[0] in FORBIDDEN_MODULES
            )
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in FORBIDDEN_CALLS:
            yield node.lineno, f"calls {called}()"
        if called in {"torch.load", "yaml.load", "yaml.unsafe_load", "os.system"}:
            yield node.lineno, f"calls {called}()"
        if called.split(".")[-1] == "text" and node.args and built_from_parts(node.args[0]):
            yield node.lineno, "puts SQL together from strings"
        for keyword in node.keywords:
            if keyword.arg in {"trust_remote_code", "shell", "allow_pickle"} and not is_false(keyword.value):
                yield node.lineno, f"sets {keyword.arg}"


def built_from_parts(node: ast.expr) -> bool:
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    if isinstance(node, ast.BinOp):
        return True
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format"


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def test_nothing_unfinished() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in modules().values()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if FORBIDDEN_WORDS.search(line)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "code",
    [
        "eval('1')", "import pickle", "from joblib import load", "torch.load('x')", "sa.text(f'select {x}')",
        "text('select ' + x)", "text('select {}'.format(x))", "f(trust_remote_code=True)", "f(trust_remote_code=x)",
        "subprocess.run('x', shell=True)", "np.load(f, allow_pickle=True)",
    ],
)  # fmt: skip
def test_the_rules_see_what_they_forbid(code: str) -> None:
    assert list(dangers(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["sa.text('select 1')", "re.compile('x')", "np.load(f, allow_pickle=False)", "text(QUERY)"]
)
def test_the_rules_let_pass_what_is_fine(code: str) -> None:
    assert not list(dangers(ast.parse(code)))


def test_the_walk_finds_a_ring_and_nothing_else() -> None:
    assert list(cycles({"a": ["b"], "b": ["c"], "c": ["b"]})) == [["b", "c", "b"]]
    assert not list(cycles({"a": ["b", "c"], "b": ["c"], "c": []}))


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports them by their bare names, so two of one name cannot be collected together."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1 and name != "__init__.py"] == []
