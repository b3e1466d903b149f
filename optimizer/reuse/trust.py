"""How much similarity is enough: learnt online per task, refined per entry, and proven before anything is reused.

vCache (Schroeder et al., Verified Semantic Prompt Caching, 2025) learns for every cached prompt how likely its
answer is right at a similarity, and asks the model whenever that is not sure enough; the fresh answer is the label.
Here the task's entries share one logistic model of several features, and an entry's own labels shift its
intercept (a one-step MAP estimate around the shared one), so that an entry that misled once is trusted less.

What is bounded is stricter than there: wrong answers as a share of the *hits*. The learnt score only proposes.
While a task is closed, each proposal is asked all the same and its outcome feeds a betting e-process against "at
least ``delta`` of the proposals are wrong" (``optimizer.stats.eprocess``). Each proposal was fixed before its outcome
was seen, so whatever the model learns meanwhile, the chance of *ever* opening while the mean chance of a wrong
proposal so far is ``delta`` or more stays at ``alpha``; a new round spends less (``optimizer.stats.multiplicity``).
Once open, a random share of the proposals is still asked. These, and no others, feed an e-detector
(``optimizer.drift``); its alarm closes the task, which then has to prove itself anew.
"""

from __future__ import annotations

from math import exp, inf, log
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from optimizer import drift
from optimizer.stats import eprocess
from optimizer.stats.multiplicity import spend

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

_ROWS = 2000
"""Labels that are remembered and learnt from, the newest."""
_FIRST_FIT, _FIT_EVERY = 100, 50
_LEAST = 30  # labels above a cut before it is proposed
_AIM = 0.375
"""Share of ``delta`` that may be wrong among the labels above a cut: evidence grows only where the truth is well below
``delta``."""
_FOLDS = 5
"""The cut is chosen by scores of models that have not seen the label: those that have flatter it."""
_RIDGE = 20.0
_ENTRY_VARIANCE = 2.0
"""Of an entry's intercept around the shared one, in squared log-odds."""
_KEPT_AFTER_ALARM = 200
_HOPELESS = log(0.05)
"""A round whose evidence has fallen this low starts again, on a smaller share of alpha."""


class Label(Struct, frozen=True):
    """One comparison whose truth is known: was the kept answer the right one? ``shift``: what the entry's own labels
    had said before."""

    features: tuple[float, ...]
    right: bool
    shift: float = 0.0


class Model(Struct, frozen=True):
    """Logistic regression on standardised features."""

    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float


class Entry(Struct, frozen=True):
    """What an entry's own labels say beyond the shared model: the sum of their residuals and of their information."""

    residual: float = 0.0
    information: float = 0.0

    @property
    def shift(self) -> float:
        """Log-odds to add to the shared model's."""
        return _ENTRY_VARIANCE * self.residual / (1 + _ENTRY_VARIANCE * self.information)


class Trust(Struct, frozen=True):
    """A task's state. ``cut``: log-odds from which on a reuse is proposed. ``watch`` is there while it is open."""

    delta: float
    alpha: float
    average_run_length: int
    round: int
    proof: eprocess.EProcess
    labels: tuple[Label, ...] = ()
    seen: int = 0
    fitted_at: int = 0
    model: Model | None = None
    cut: float = inf
    watch: drift.WatchState | None = None
    alarms: int = 0

    @property
    def is_open(self) -> bool:
        """Whether proposals may be served."""
        return self.watch is not None


def start(delta: float, alpha: float, average_run_length: int) -> Trust:
    """A task that nothing is known about. ``delta``: the largest share of wrong hits; ``alpha``: the chance of
    opening all the same; ``average_run_length``: sampled proposals between false alarms, at least."""
    proof = eprocess.start(1 - delta)
    return Trust(delta=delta, alpha=alpha, average_run_length=average_run_length, round=1, proof=proof)


def log_odds(trust: Trust, features: tuple[float, ...], entry: Entry) -> float:
    """How surely the entry's answer is the right one; minus infinity while nothing is learnt."""
    if trust.model is None:
        return -inf
    return _shared(trust.model, features) + entry.shift


def proposes(trust: Trust, score: float) -> bool:
    """Whether a comparison of this score would be reused, if the task were open."""
    return score >= trust.cut


def learn(
    trust: Trust, features: tuple[float, ...], entry: Entry, *, right: bool, proposed: bool
) -> tuple[Trust, Entry]:
    """One more label. ``proposed``: the comparison was a proposal, and (when open) drawn at random to be asked."""
    label, entry = Label(features, right, entry.shift), _refined(trust, features, entry, right)
    if proposed:
        trust = _watched(trust, right) if trust.is_open else _proven(trust, right)
    labels = (*trust.labels[-(_ROWS - 1) :], label)
    trust = replace(trust, labels=labels, seen=trust.seen + 1)
    return (_fitted(trust) if _due(trust) else trust), entry


def _refined(trust: Trust, features: tuple[float, ...], entry: Entry, right: bool) -> Entry:
    if trust.model is None:
        return entry
    chance = _sigmoid(_shared(trust.model, features))
    return Entry(entry.residual + right - chance, entry.information + chance * (1 - chance))


def _proven(trust: Trust, right: bool) -> Trust:
    proof = eprocess.update(trust.proof, float(right))
    if proof.log_wealth >= -log(spend(trust.alpha, trust.round)):
        watch = drift.start(1 - trust.delta, 0.0, trust.average_run_length)
        return replace(trust, proof=proof, watch=watch)
    if proof.log_wealth < _HOPELESS:
        return replace(trust, proof=eprocess.start(1 - trust.delta), round=trust.round + 1)
    return replace(trust, proof=proof)


def _watched(trust: Trust, right: bool) -> Trust:
    assert trust.watch is not None
    watch = drift.observe(trust.watch, right)
    if not watch.alarmed:
        return replace(trust, watch=watch)
    return replace(
        trust, watch=None, proof=eprocess.start(1 - trust.delta), round=trust.round + 1, alarms=trust.alarms + 1,
        labels=trust.labels[-_KEPT_AFTER_ALARM:], cut=inf,
    )  # fmt: skip


def _due(trust: Trust) -> bool:
    return trust.seen >= _FIRST_FIT and trust.seen - trust.fitted_at >= _FIT_EVERY


def _fitted(trust: Trust) -> Trust:
    """Learns the model again, and the lowest cut above which few enough of the labels are wrong. A label stands where
    it stood when it came: an entry that had misled before its label came does not hold up the others."""
    import numpy as np

    trust = replace(trust, fitted_at=trust.seen)
    table = np.array([one.features for one in trust.labels], dtype=np.float64)
    right = np.array([one.right for one in trust.labels], dtype=np.float64)
    shifts = np.array([one.shift for one in trust.labels], dtype=np.float64)
    if right.min() == right.max():
        return trust
    model, scores = _fit(table, right, shifts), _unseen(table, right, shifts)
    order = np.argsort(-scores, kind="stable")
    wrong, count = np.cumsum(1 - right[order]), np.arange(1, len(order) + 1)
    aim = trust.delta * _AIM
    fine = np.flatnonzero((wrong <= aim * count) & (count >= _LEAST))
    cut = float(scores[order[fine[-1]]]) if fine.size else inf
    return replace(trust, model=model, cut=cut)


def _unseen(table: Doubles, right: Doubles, shifts: Doubles) -> Doubles:
    """Each label's log-odds by a model fitted to the other folds (Stone, cross-validatory choice, 1974)."""
    import numpy as np

    scores, fold = np.empty(len(table)), np.arange(len(table)) % _FOLDS
    for one in range(_FOLDS):
        rest, out = fold != one, fold == one
        model = _fit(table[rest], right[rest], shifts[rest])
        scores[out] = (table[out] - model.means) / model.scales @ np.array(model.weights) + model.bias
    return scores + shifts


def _fit(table: Doubles, right: Doubles, shifts: Doubles) -> Model:
    """Ridge logistic regression by Newton's method, beside the log-odds that are known; the intercept is free."""
    import numpy as np

    means, scales = table.mean(axis=0), table.std(axis=0)
    scales = np.where(scales < 1e-9, 1.0, scales)
    rows = np.column_stack([(table - means) / scales, np.ones(len(table))])
    ridge = np.full(rows.shape[1], _RIDGE)
    ridge[-1] = 1e-3
    weights = np.zeros(rows.shape[1])
    for _ in range(12):
        chance = 1 / (1 + np.exp(-np.clip(rows @ weights + shifts, -30, 30)))
        slope = rows.T @ (right - chance) - ridge * weights
        curve = (rows * (chance * (1 - chance))[:, None]).T @ rows + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        weights = weights + step
        if np.abs(step).max() < 1e-6:
            break
    return Model(
        tuple(means.tolist()), tuple(scales.tolist()), tuple(weights[:-1].tolist()), float(weights[-1])
    )


def _shared(model: Model, features: tuple[float, ...]) -> float:
    terms = zip(features, model.means, model.scales, model.weights, strict=True)
    return model.bias + sum(weight * (value - mean) / scale for value, mean, scale, weight in terms)


def _sigmoid(value: float) -> float:
    return 1 / (1 + exp(-max(-30.0, min(30.0, value))))
