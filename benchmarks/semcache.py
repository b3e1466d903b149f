"""Measures the semantic cache's decision on labelled question pairs: what share of hits is wrong, what share of
true paraphrases hits.

    python -m benchmarks.semcache DIR [--encoder FOLDER] [--delta 0.02] [--seed 0] [--shuffles 20] [--json]

DIR holds ``*.jsonl`` with ``q1`` (the question kept), ``q2`` (the one asked), ``same`` (1: q1's answer is right for
q2) and perhaps ``group``. Every file is a source and stands for a task of its own; ``all`` mixes them into one task.

``cold``: the pairs of a source arrive once, in random order, and the task knows nothing at first; only what was
served counts as a hit. Hits and wrong hits are of the median shuffle (by hits); ``worst`` is the largest share of
wrong hits of any shuffle. ``long``: the same, but ten times as many pairs, drawn with replacement and each with
an entry of its own: a simulation of traffic that stays as it is. ``learnt``: five folds, groups kept apart; what
four folds taught decides on the fifth, whether or not the proof was complete: how good the learnt rule is, with the
exact 95 % interval of its wrong share.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from msgspec import Struct, to_builtins
from numpy.typing import NDArray

from gateway.local_models.encoder import load
from optimizer.reuse import lexical, trust
from optimizer.reuse.wording import features, forbidden, wording
from optimizer.stats.intervals import clopper_pearson

_FOLDS = 5
_REASK = 0.05
_ALPHA, _RUN_LENGTH = 0.05, 2000
Vectors = dict[str, NDArray[np.float32]]


class Pair(Struct, frozen=True):
    kept: str
    same: bool
    fold: int
    seen: tuple[float, ...] | None
    """None where a guard forbids the reuse."""


class Tally(Struct):
    """Counts of pairs: true paraphrases, hits, and hits whose answer is wrong."""

    pairs: int = 0
    same: int = 0
    hits: int = 0
    wrong: int = 0

    def count(self, pair: Pair, hit: bool) -> None:
        self.pairs += 1
        self.same += pair.same
        self.hits += hit
        self.wrong += hit and not pair.same

    @property
    def wrong_share(self) -> float:
        return self.wrong / self.hits if self.hits else 0.0

    @property
    def found(self) -> float:
        return (self.hits - self.wrong) / self.same if self.same else 0.0


class Row(Struct, frozen=True):
    """One line of the table. ``low`` and ``high``: the 95 % interval of the share of wrong hits."""

    vectors: str
    source: str
    how: str
    tally: Tally
    low: float
    high: float
    worst: float
    opened_after: int | None = None
    """Pairs until the first hit could be served (median over the shuffles that opened)."""


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def pairs_of(rows: Sequence[dict[str, Any]], vectors: Vectors) -> list[Pair]:
    found = []
    for row in rows:
        one, two = wording(row["q1"]), wording(row["q2"])
        similarity = float(vectors[row["q1"]] @ vectors[row["q2"]])
        seen = None if forbidden(one, two) else features(one, two, similarity)
        fold = crc32(str(row.get("group", row["q1"])).encode()) % _FOLDS
        found.append(Pair(row["q1"], bool(row["same"]), fold, seen))
    return found


class Task:
    """A task that meets pairs one by one."""

    def __init__(self, delta: float, rng: random.Random, *, remembers: bool = True) -> None:
        self.state = trust.start(delta, _ALPHA, _RUN_LENGTH)
        self._entries: dict[str, trust.Entry] = {}
        self._rng, self._remembers = rng, remembers

    def proposes(self, pair: Pair) -> bool:
        if pair.seen is None:
            return False
        entry = self._entries.get(pair.kept, trust.Entry())
        return trust.proposes(self.state, trust.log_odds(self.state, pair.seen, entry))

    def meet(self, pair: Pair) -> bool:
        """Whether the pair was a hit; otherwise it was asked, and learnt from."""
        proposed = self.proposes(pair)
        if pair.seen is None or (proposed and self.state.is_open and self._rng.random() >= _REASK):
            return proposed
        entry = self._entries.get(pair.kept, trust.Entry())
        self.state, entry = trust.learn(self.state, pair.seen, entry, right=pair.same, proposed=proposed)
        if self._remembers:
            self._entries[pair.kept] = entry
        return False


def streamed(
    name: str, source: str, pairs: Sequence[Pair], delta: float, seed: int, shuffles: int, *, longer: int = 0
) -> Row:
    """``longer``: how many times as many pairs are drawn, with replacement; 0 lets each come once."""
    runs: list[tuple[Tally, int | None]] = []
    for number in range(shuffles):
        rng = random.Random(seed * 1000 + number)
        task, tally, opened = Task(delta, rng, remembers=not longer), Tally(), None
        stream = rng.choices(pairs, k=longer * len(pairs)) if longer else rng.sample(pairs, len(pairs))
        for at, pair in enumerate(stream):
            tally.count(pair, task.meet(pair))
            opened = at + 1 if opened is None and task.state.is_open else opened
        runs.append((tally, opened))
    middle = sorted(runs, key=lambda run: run[0].hits)[len(runs) // 2][0]
    opened_at = sorted(at for _, at in runs if at is not None)
    return Row(
        name, source, "long" if longer else "cold", middle, *clopper_pearson(middle.wrong, middle.hits, 0.95),
        max(one.wrong_share for one, _ in runs), opened_at[len(opened_at) // 2] if opened_at else None,
    )  # fmt: skip


def learnt(name: str, source: str, pairs: Sequence[Pair], delta: float, seed: int) -> Row:
    tally, worst = Tally(), 0.0
    for fold in range(_FOLDS):
        rng = random.Random(seed)
        task, part = Task(delta, rng), Tally()
        for pair in rng.sample(pairs, len(pairs)):
            if pair.fold != fold:
                task.meet(pair)
        for pair in pairs:
            if pair.fold == fold:
                hit = task.proposes(pair)
                tally.count(pair, hit)
                part.count(pair, hit)
        worst = max(worst, part.wrong_share)
    return Row(name, source, "learnt", tally, *clopper_pearson(tally.wrong, tally.hits, 0.95), worst)


def rows_of(
    sources: dict[str, list[dict[str, Any]]], name: str, embed: Callable[[list[str]], Vectors], args: Any
) -> Iterator[Row]:
    texts = sorted({row[side] for rows in sources.values() for row in rows for side in ("q1", "q2")})
    vectors = embed(texts)
    mixed = [row for rows in sources.values() for row in rows]
    for source, chosen in {**sources, "all": mixed}.items():
        pairs = pairs_of(chosen, vectors)
        yield streamed(name, source, pairs, args.delta, args.seed, args.shuffles)
        yield streamed(name, source, pairs, args.delta, args.seed, args.shuffles // 4 + 1, longer=10)
        yield learnt(name, source, pairs, args.delta, args.seed)


def lexical_vectors(texts: list[str]) -> Vectors:
    return {text: lexical.vector(wording(text).words) for text in texts}


def encoded(folder: str) -> Callable[[list[str]], Vectors]:
    return lambda texts: dict(zip(texts, load(folder).embed(texts), strict=True))


def table(rows: Sequence[Row]) -> str:
    columns = "vectors, source, how, pairs, hits, wrong, wrong share [95 %], worst, paraphrases that hit, opened after"
    lines = [f"| {columns.replace(', ', ' | ')} |", "|" + "---|" * 10]
    for row in rows:
        one = row.tally
        share = f"{one.wrong_share:.2%} [{row.low:.2%}, {row.high:.2%}]" if one.hits else "no hit"
        lines.append(
            f"| {row.vectors} | {row.source} | {row.how} | {one.pairs} | {one.hits} | {one.wrong} | {share} | "
            f"{row.worst:.2%} | {one.found:.1%} of {one.same} | {row.opened_after or '-'} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.semcache", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", help="folder of a sentence encoder; lexical vectors are always measured")
    parser.add_argument("--delta", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shuffles", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    sources = {path.stem: read(path) for path in sorted(args.folder.glob("*.jsonl"))}
    if not sources:
        parser.error(f"{args.folder} holds no *.jsonl")
    rows = list(rows_of(sources, "lexical", lexical_vectors, args))
    if args.encoder:
        rows += rows_of(sources, "encoder", encoded(args.encoder), args)
    sys.stdout.write((json.dumps(to_builtins(rows), indent=1) if args.json else table(rows)) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
