"""torch is imported in trainer/training; elsewhere in the trainer only inside functions, and outside of it never."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "torch", "transformers", "peft", "accelerate", "vllm", "bitsandbytes", "detoxify", "presidio_analyzer", "spacy", "tldextract",
}  # fmt: skip


def heavy(path: Path, *, lazy: bool) -> list[str]:
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    found = []
    while pending:
        node = pending.pop()
        if not lazy and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        pending.extend(ast.iter_child_nodes(node))
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"{path.relative_to(ROOT)}:{node.lineno}" for name in names if name.split(".")[0] in HEAVY]  # type: ignore[attr-defined]
    return found


def test_nobody_but_the_trainer_knows_torch() -> None:
    outside = [path for name in ("gateway", "optimizer", "admin_ui", "benchmarks") for path in (ROOT / name).rglob("*.py")]
    assert not [place for path in outside for place in heavy(path, lazy=True)]


def test_the_trainer_needs_torch_only_when_it_trains() -> None:
    home = ROOT / "trainer" / "training"
    others = [path for path in (ROOT / "trainer").rglob("*.py") if not path.is_relative_to(home)]
    assert not [place for path in others for place in heavy(path, lazy=False)]
