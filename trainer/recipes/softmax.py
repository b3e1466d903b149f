"""Multinomial logistic regression on sparse terms beside dense vectors, without copying the one into the other.

Minimised by L-BFGS (Liu & Nocedal, 1989) with the penalty of scikit-learn's ``LogisticRegression``: the sum of the
weighted log losses times ``strength``, plus half the squared coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.features.terms import Floats

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
_STEPS, _TOLERANCE = 150, 1e-4
NEVER = -20.0
"""Bias of a label that no row has: it never wins."""


@dataclass(frozen=True, slots=True)
class Rows:
    """``terms``: CSR (rows, terms); ``vectors``: (rows, size), or None; ``labels`` (rows,), ``weight`` (rows,)."""

    terms: Any
    vectors: Floats | None
    labels: Labels
    weight: Array

    def only(self, these: npt.NDArray[np.bool_]) -> Rows:
        vectors = None if self.vectors is None else self.vectors[these]
        return Rows(self.terms[these], vectors, self.labels[these], self.weight[these])


@dataclass(frozen=True, slots=True)
class Fitted:
    """``terms`` (terms, labels), ``vectors`` (size, labels) or None, ``bias`` (labels,): float32."""

    terms: Floats
    vectors: Floats | None
    bias: Floats

    def scores(self, terms: Any, vectors: Floats | None) -> Array:
        found = terms @ self.terms.astype(np.float64) + self.bias
        if vectors is not None and self.vectors is not None:
            found += vectors @ self.vectors
        return np.asarray(found, dtype=np.float64)


def fit_softmax(rows: Rows, count: int, strength: float) -> Fitted:
    """Fits on rows of positive weight, the labels numbered from 0 to ``count``. Stops after 150 steps, or when no
    gradient is above 1e-4: the last digits of a likelihood do not change a label."""
    size = 0 if rows.vectors is None else rows.vectors.shape[1]
    wide = rows.terms.shape[1]
    present = np.unique(rows.labels)
    weights, bias = np.zeros((wide + size, count)), np.full(count, NEVER)
    bias[present] = 0.0
    if len(present) > 1:
        columns = np.searchsorted(present, rows.labels)
        weights[:, present], bias[present] = _minimised(rows, columns, len(present), strength)
    made = weights.astype(np.float32)
    return Fitted(made[:wide], made[wide:] if size else None, bias.astype(np.float32))


def _minimised(rows: Rows, labels: Labels, count: int, strength: float) -> tuple[Array, Array]:
    from scipy.optimize import minimize

    terms, vectors = rows.terms.tocsr(), rows.vectors
    back, wide = terms.T.tocsr(), terms.shape[1]
    size = 0 if vectors is None else vectors.shape[1]
    share, penalty = rows.weight / rows.weight.sum(), 1.0 / (strength * rows.weight.sum())
    at = np.arange(len(labels))

    def loss(flat: Array) -> tuple[float, Array]:
        made = flat.reshape(wide + size + 1, count)
        logits = terms @ made[:wide] + made[-1]
        if vectors is not None:
            logits += vectors @ made[wide:-1].astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        likely = np.exp(logits)
        total = likely.sum(axis=1)
        value = float(share @ (np.log(total) - logits[at, labels]))
        slope = likely / total[:, None]
        slope[at, labels] -= 1.0
        slope *= share[:, None]
        gradient = np.empty_like(made)
        gradient[:wide], gradient[-1] = back @ slope, slope.sum(axis=0)
        if vectors is not None:
            gradient[wide:-1] = vectors.T @ slope.astype(np.float32)
        gradient[:-1] += penalty * made[:-1]
        return value + 0.5 * penalty * float((made[:-1] ** 2).sum()), gradient.ravel()

    start = np.zeros((wide + size + 1) * count)
    options = {"maxiter": _STEPS, "gtol": _TOLERANCE, "ftol": 64 * np.finfo(float).eps, "maxls": 50}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x.reshape(-1, count)
    return found[:-1], found[-1]
