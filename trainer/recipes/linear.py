"""The calibrated linear head: multinomial logistic regression on sparse features, and its temperature.

Strength of regularisation and temperature are chosen on out-of-fold predictions, so no row judges a model
that was fitted on it. Temperature scaling after Guo, Pleiss, Sun & Weinberger, On Calibration of Modern
Neural Networks, 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.features.terms import Floats

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_STRENGTHS = (3.0, 10.0, 30.0)
_FOLDS = 3
_LARGE = 30_000
"""Rows times labels beyond which one strength is fitted instead of three: it saves seconds."""


@dataclass(frozen=True, slots=True)
class Head:
    """``coefficients`` (features, labels), ``bias`` (labels,). Probability = softmax(logit / temperature)."""

    coefficients: Floats
    bias: Floats
    temperature: float
    strength: float
    loss: float
    """Mean log loss of those that teach, out of fold."""
    out_of_fold: Array
    """Probabilities (rows, labels) of every training row by a model that never saw it."""


def fit_head(
    matrix: Any, labels: Labels, weight: Array, count: int, seed: int, tick: Callable[[float], None],
    fold: Labels | None = None, *, hints: int = 0, taught: Any = None, strength: float | None = None,
) -> Head:  # fmt: skip
    """Fits on a ``matrix`` (scipy CSR or dense) with one ``weight`` a row. ``count`` labels, numbered from 0;
    ``tick`` hears progress in [0, 1]. ``fold``: which rows are predicted together by a model without them.

    A row of weight 0 teaches nothing and is predicted all the same; its label may be -1 (none of them). The last
    ``hints`` rows are no calls: they teach every model, and nothing is judged or chosen by them. ``taught``: the
    rows as models are fitted on them, when that is not how they are asked. ``strength``: instead of the best of three.
    """
    taught = matrix if taught is None else taught
    calls = len(labels) - hints
    teaches = weight > 0
    weights = np.where(teaches, weight, 0.0)
    weights[teaches] *= _row_weights(labels[teaches], count)
    if fold is None:
        fold = np.random.default_rng(seed).permutation(calls) % _FOLDS
    strengths = (10.0,) if len(labels) * count > _LARGE else _STRENGTHS
    if strength is not None:
        strengths = (strength,)
    best: tuple[float, float, float, Array] | None = None
    for done, tried in enumerate(strengths):
        logits = _out_of_fold((taught, matrix), labels, count, weights, fold, tried)
        seen = logits[teaches[:calls]], labels[:calls][teaches[:calls]]
        temperature = temperature_of(*seen)
        loss = _loss(*seen, temperature)
        if best is None or loss < best[0]:
            best = (loss, tried, temperature, logits)
        tick((done + 1) / (len(strengths) + 1))
    assert best is not None
    loss, chosen, temperature, logits = best
    coefficients, bias = _fit(taught[teaches], labels[teaches], count, weights[teaches], chosen)
    tick(1.0)
    return Head(
        coefficients=coefficients.T.astype(np.float32),
        bias=bias.astype(np.float32),
        temperature=temperature,
        strength=chosen,
        loss=loss,
        out_of_fold=softmax(logits / temperature),
    )


def softmax(logits: Array) -> Array:
    """Row-wise softmax, stable for large logits."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Array = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def _row_weights(labels: Labels, count: int) -> Array:
    """Half-way between plain and balanced (the square root of the balanced weight, at most 4): rare labels
    are learnt without making their probabilities mean nothing."""
    frequency = np.maximum(np.bincount(labels, minlength=count), 1)
    balanced = len(labels) / (count * frequency)
    weight: Array = np.minimum(np.sqrt(balanced), 4.0)[labels]
    return weight


def _out_of_fold(
    matrices: tuple[Any, Any], labels: Labels, count: int, weights: Array, fold: Labels, strength: float
) -> Array:
    taught, asked = matrices
    logits = np.zeros((len(fold), count))
    for number in np.unique(fold):
        held = np.flatnonzero(fold == number)
        rest = weights > 0
        rest[held] = False
        coefficients, bias = _fit(taught[rest], labels[rest], count, weights[rest], strength)
        logits[held] = asked[held] @ coefficients.T.astype(np.float64) + bias
    return logits


def _fit(matrix: Any, labels: Labels, count: int, weights: Array, strength: float) -> tuple[Array, Array]:
    """Coefficients (labels, features) and bias (labels,) in log-odds; a label without a row gets a bias that
    never wins."""
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels)
    coefficients = np.zeros((count, matrix.shape[1]))
    bias = np.full(count, -20.0)
    if len(present) < 2:
        bias[present] = 0.0
        return coefficients, bias
    model = LogisticRegression(C=strength, tol=1e-4, max_iter=300)
    model.fit(matrix, labels, sample_weight=weights)
    if len(present) == 2:  # scikit-learn keeps one row for two classes: the log-odds of the second
        coefficients[present[1]], bias[present[1]], bias[present[0]] = (
            model.coef_[0],
            model.intercept_[0],
            0.0,
        )
    else:
        coefficients[present], bias[present] = model.coef_, model.intercept_
    return coefficients, bias


def _loss(logits: Array, labels: Labels, temperature: float) -> float:
    probability = softmax(logits / temperature)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(probability, 1e-12)).mean())


def temperature_of(logits: Array, labels: Labels) -> float:
    """The temperature in [0.05, 20] with the least log loss, by golden-section search over its logarithm."""
    low, high = np.log(0.05), np.log(20.0)
    ratio = (np.sqrt(5.0) - 1.0) / 2.0
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _loss(logits, labels, float(np.exp(left))) <= _loss(logits, labels, float(np.exp(right))):
            high = right
        else:
            low = left
    return float(np.float32(np.exp((low + high) / 2.0)))  # as an artifact will hold it
