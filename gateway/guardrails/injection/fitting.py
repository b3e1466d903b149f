"""Fits the light injection classifier on labelled examples, for a stated share of false positives.

Attacks that stand inside documents and tool results look like documents, and what users type does not: a single head
spends its false positives on documents. So examples of family ``indirect_injection`` have a head of their own.
Thresholds come from predictions for groups that the predicting model never saw; what the rules stop wrongly counts
against the same bound. The bound is about the benign texts that look like attacks (family ``benign_hard_negative``)
where the examples name any, and about all benign texts otherwise; ``elsewhere`` bounds the other benign texts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from gateway.guardrails.injection.fitted import (
    COLUMNS,
    FORMAT,
    Fitted,
    Floats,
    HeadFacts,
    Manifest,
    features,
    vocabulary,
    windows,
)
from gateway.guardrails.injection.injection import score

Flags = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]

INDIRECT = "indirect_injection"
LOOKALIKE = "benign_hard_negative"
_FOLDS, _TURNS = 5, 3
_MOST_COMPACT = 4000
_STRENGTH = 30.0
_FEWEST = 20
"""Attacks and benign texts without which nothing is fitted; attacks of a head of its own."""
_ATTACK = 1.0  # the rules' own sum, see Injection.threshold


class Example(Struct, frozen=True):
    """One labelled text: ``attack``, or ``toxic`` where it is toxic language that is learnt.

    Texts of a ``group`` are never on two sides of a split; without one, equal texts are a group.
    ``unsafe``: asks for harm without attacking (taught as no attack, and not counted among the benign)."""

    text: str
    attack: Literal[0, 1] | None = None
    group: str = ""
    family: str = ""
    source: str = ""
    unsafe: int | None = None
    toxic: Literal[0, 1] | None = None

    def __post_init__(self) -> None:
        if self.attack is None and self.toxic is None:
            raise ValueError("has neither 'attack' nor 'toxic'")

    @property
    def label(self) -> int:
        return int((self.toxic if self.attack is None else self.attack) == 1)

    @property
    def kin(self) -> str:
        return self.group or self.text


def read(data: bytes) -> list[Example]:
    """Examples from JSON lines. Raises ValueError with the line's number."""
    found = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                found.append(msgspec.json.decode(line, type=Example))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
                raise ValueError(f"line {number}: {problem}") from None
    return found


def halves(examples: Sequence[Example], seed: int = 0) -> tuple[list[Example], list[Example]]:
    """To fit on, and to test on: by a hash of the group, with ``seed`` in front of it when that is not 0."""
    sides: tuple[list[Example], list[Example]] = ([], [])
    for one in examples:
        sides[_hash(f"{seed}:{one.kin}" if seed else one.kin)[0] % 2].append(one)
    return sides


def fit(examples: Sequence[Example], false_positives: float, elsewhere: float = 1.0) -> Fitted:
    """See :func:`learn` and :meth:`Lesson.fitted`. Raises ValueError when there are too few examples."""
    return learn(examples).fitted(false_positives, elsewhere)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What was learnt, before anybody said how much may be stopped wrongly.

    ``aside``: by head, the log-odds of every example by models that saw nothing of its group. ``ruled``: what the
    rules stop by themselves. ``bounded``: the benign texts that ``false_positives`` is about."""

    weights: Mapping[str, Floats]
    biases: Mapping[str, float]
    aside: Mapping[str, Scores]
    attack: Flags
    indirect: Flags
    benign: Flags
    bounded: Flags
    ruled: Flags
    by_length: bool

    @property
    def others(self) -> Flags:
        """The benign texts that ``elsewhere`` is about."""
        return self.benign & ~self.bounded

    def fitted(self, false_positives: float, elsewhere: float = 1.0) -> Fitted:
        """``false_positives``: the share of benign look-alikes (of all benign texts, where none are marked) that rules
        and heads together may stop, out of fold; ``elsewhere``: that of the other benign texts."""
        facts = []
        for name, aside in self.aside.items():
            # A head for documents stops none of what users type, and of documents as many as the bound allows.
            shares = (0.0, false_positives) if name == "indirect" else (false_positives, elsewhere)
            threshold = max(
                _threshold(aside, self.ruled, one, share)
                for one, share in zip((self.bounded, self.others), shares, strict=True)
            )
            facts.append(HeadFacts(name, self.biases[name], threshold))
        manifest = Manifest(
            format=FORMAT, vocabulary=vocabulary(), heads=facts, attacks=int(self.attack.sum()),
            benign=int(self.benign.sum()), false_positives=false_positives, by_length=self.by_length, model_sha256="",
        )  # fmt: skip
        return Fitted(manifest, self.weights)

    def foreseen(self, fitted: Fitted) -> dict[str, tuple[int, int]]:
        """(stopped, of so many) by kind of example, by rules and heads together and out of fold."""
        stopped = self.ruled.copy()
        for head in fitted.manifest.heads:
            stopped |= self.aside[head.name] > head.threshold
        alike = self.bounded if self.others.any() else np.zeros_like(self.bounded)
        kinds = {
            "attacks": self.attack & ~self.indirect, "indirect attacks": self.indirect,
            "benign look-alikes": alike, "other benign texts" if alike.any() else "benign texts": self.benign & ~alike,
        }  # fmt: skip
        return {name: (int(stopped[one].sum()), int(one.sum())) for name, one in kinds.items() if one.any()}


def learn(examples: Sequence[Example]) -> Lesson:
    """Heads, and what they say of each example when they have seen nothing of its group. Raises ValueError when there
    are too few examples."""
    attack = np.array([one.label == 1 for one in examples], dtype=bool)
    benign = np.array([one.label == 0 and not one.unsafe for one in examples], dtype=bool)
    if attack.sum() < _FEWEST or benign.sum() < _FEWEST:
        raise ValueError(
            f"at least {_FEWEST} attacks (or toxic texts) and {_FEWEST} benign texts are needed to fit anything, "
            f"and there are {attack.sum()} and {benign.sum()} (with --half, in the half that is fitted on)."
        )
    # Attacks need room; rude words are as rude in a line as on a page.
    by_length = any(one.attack is not None for one in examples)
    matrix = _matrix([one.text for one in examples], by_length=by_length)
    # The list of toxic words is not asked beside a model, as the rules for attacks are.
    ruled = np.array([one.attack is not None and score(one.text) >= _ATTACK for one in examples], dtype=bool)
    alike = benign & np.array([one.family == LOOKALIKE for one in examples], dtype=bool)
    indirect = attack & np.array([one.family == INDIRECT for one in examples], dtype=bool)
    weights, biases, aside = _heads(examples, matrix, attack, indirect)
    bounded = alike if alike.sum() >= _FEWEST else benign
    return Lesson(weights, biases, aside, attack, indirect, benign, bounded, ruled, by_length)


def _heads(
    examples: Sequence[Example], matrix: Any, attack: Flags, indirect: Flags
) -> tuple[dict[str, Floats], dict[str, float], dict[str, Scores]]:
    """Weights, biases and scores out of fold, by head."""
    folds = [
        np.array([_hash(f"fold{turn}:{one.kin}")[1] % _FOLDS for one in examples]) for turn in range(_TURNS)
    ]
    near = _compact(matrix)
    weights, biases, aside = {}, {}, {}
    for name, positive in _kinds(attack, indirect):
        taught = positive | ~attack
        aside[name] = np.mean([_out_of_fold(near, positive, taught, one) for one in folds], axis=0)
        weights[name], biases[name] = _linear(matrix[taught], positive[taught])
    return weights, biases, aside


def _kinds(attack: Flags, indirect: Flags) -> list[tuple[str, Flags]]:
    direct = attack & ~indirect
    if min(indirect.sum(), direct.sum()) < _FEWEST:
        return [("attack", attack)]
    return [("direct", direct), ("indirect", indirect)]


def _matrix(texts: Sequence[str], *, by_length: bool) -> Any:
    """Sparse features (texts, COLUMNS) of each text's first window."""
    from scipy.sparse import csr_matrix

    rows = [features(windows(text)[0], by_length=by_length) for text in texts]
    ends = np.cumsum([0, *(len(where) for where, _ in rows)])
    where, value = (np.concatenate(part) for part in zip(*rows, strict=True))
    return csr_matrix((value.astype(np.float64), where, ends), shape=(len(texts), COLUMNS))


def _compact(matrix: Any) -> Any:
    """A matrix (texts, texts) with the same products of rows, as far as there are not too many: what is learnt from
    either scores its texts alike, and from few columns it is learnt many times as fast."""
    count = matrix.shape[0]
    if count > _MOST_COMPACT:
        return matrix
    products = (matrix @ matrix.T).toarray()
    return np.linalg.cholesky(products + 1e-6 * np.eye(count))


def _out_of_fold(matrix: Any, positive: Flags, taught: Flags, folds: npt.NDArray[Any]) -> Scores:
    """Log-odds of every row by a model that saw nothing of its fold."""
    found = np.full(len(folds), -np.inf)
    for fold in np.unique(folds):
        rest, held = taught & (folds != fold), folds == fold
        weights, bias = _linear(matrix[rest], positive[rest])
        found[held] = matrix[held] @ weights.astype(np.float64) + bias
    return found


def _linear(matrix: Any, positive: Flags) -> tuple[Floats, float]:
    """Logistic regression with an L2 penalty, by liblinear's trust-region Newton (Fan et al., 2008): no randomness."""
    from sklearn.linear_model import LogisticRegression

    if positive.all() or not positive.any():
        return np.zeros(matrix.shape[1], dtype=np.float32), -20.0 if not positive.any() else 20.0
    model = LogisticRegression(C=_STRENGTH, solver="liblinear", max_iter=300, random_state=0)
    model.fit(matrix, positive)
    return model.coef_[0].astype(np.float32), float(model.intercept_[0])


def _threshold(scores: Scores, ruled: Flags, benign: Flags, share: float) -> float:
    """The least threshold above which, with what the rules stop, at most ``share`` of the benign texts lie."""
    ranked = np.sort(scores[benign & ~ruled])[::-1]
    allowed = max(0, math.floor(share * int(benign.sum())) - int((ruled & benign).sum()))
    # rounded up: what stands at the threshold is not above it
    return math.ceil(float(ranked[allowed]) * 1e6) / 1e6 if allowed < len(ranked) else -math.inf


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
