"""One recipe on a labelled set, without the product around it: ``python -m trainer.measure DATASET --train 2400``.

Rows (JSONL or .gz) have ``text`` and ``label``, or ``text`` and ``answer`` (any JSON value). They are shuffled by
``--seed``; the first ``--train`` teach and calibrate in five folds, and the others are asked once. The threshold is
chosen as the product chooses it. The labels stand for a teacher's answers.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gateway.config import FineTune
from optimizer.gates import Terms
from trainer.datasets.split import FOLDS
from trainer.datasets.versions import Row, Version
from trainer.evaluate import examine
from trainer.recipes import Example, Means, train_first


def rows_of(path: Path, seed: int, limit: int | None) -> list[tuple[str, str]]:
    """(text, answer) in a shuffled order; answers that are no texts as compact JSON. Raises OSError, KeyError."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    found = []
    for line in data.splitlines():
        one: dict[str, Any] = json.loads(line)
        said = one["label"] if "label" in one else one["answer"]
        found.append((one["text"], said if isinstance(said, str) else _compact(said)))
    random.Random(f"measure/{seed}").shuffle(found)  # noqa: S311 - an order, no secret
    return found[:limit]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one training. Raises CannotLearn."""
    pairs = rows_of(options.dataset, options.seed, options.limit)
    rows = [
        Row(
            call=str(number), part="train" if number < options.train else "holdout", text=text, answer=answer,
            tokens=1, weight=1.0, fold=number % FOLDS if number < options.train else None,
        )
        for number, (text, answer) in enumerate(pairs)
    ]  # fmt: skip
    version = Version(digest="", rows=tuple(rows), card={})
    examples = [
        Example(row.text, row.answer, row.tokens, row.weight, row.fold) for row in version.part("train")
    ]
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        recipe, trained = train_first(
            [options.recipe] if options.recipe else "auto", examples, seed=options.seed, tick=_say,
            encoder=options.encoder, features=options.features,
            means=Means(workspace=Path(folder), fine_tune=FineTune(epochs=options.epochs) if options.epochs else None),
        )  # fmt: skip
        took = time.process_time() - began
        terms = Terms(target=options.target, margin=0.02, alpha=0.05, delta=options.delta)
        exam = examine(trained, version, terms=terms, comparison="exact")
    chosen = exam.calibration
    return {
        "recipe": recipe, "train": len(examples), "training_cpu_s": round(took, 1), "calibration": chosen.n,
        "certified": chosen.answered, **exam.metrics["holdout"], "latency_ms": exam.metrics["latency_ms"],
        "training": trained.numbers, "best_possible": _best(exam.evidence.holdout, options.target),
    }  # fmt: skip


def _best(marks: Any, target: float) -> float:
    """The largest share of the calls that some threshold would answer at ``target``, chosen with the answers known."""
    agreed, best = 0, 0
    for answered, (_, agree) in enumerate(sorted(marks, key=lambda mark: -mark[0]), start=1):
        agreed += bool(agree)
        best = answered if agreed >= target * answered else best
    return best / max(1, len(marks))


def _say(done: float, step: str) -> None:
    print(f"\r{done:4.0%} {step:60}", end="", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="trainer.measure", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--train", type=int, default=2400)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--recipe", choices=["classifier", "extractor"])
    parser.add_argument("--encoder")
    parser.add_argument("--features", choices=["auto", "tfidf", "embedding", "both"], default="auto")
    parser.add_argument(
        "--epochs", type=int, default=0, help="fine-tune the encoder for so many epochs at most"
    )
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--delta", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    print("\n" + json.dumps(measure(parser.parse_args()), indent=1))


if __name__ == "__main__":
    main()
