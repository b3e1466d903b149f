"""What a search may try: dimensions with a scale, and the proposer behind an interface."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

from trainer.recipes.example import CannotLearn

LOSS = "selection_loss"
"""Among a student's numbers: the mean log loss on rows that its model did not learn from."""
Value = float | int | bool


class Dimension(Struct, frozen=True):
    """``real`` is searched on a logarithmic scale from ``low`` to ``high``, ``whole`` by whole numbers; ``flag`` is
    true or false. ``usual``: what is taken without a search, and tried first."""

    name: str
    kind: Literal["real", "whole", "flag"]
    usual: Value
    low: float = 0.0
    high: float = 1.0


class Proposer(Protocol):
    """Equal histories give equal proposals."""

    def ask(self) -> dict[str, Value]: ...

    def tell(self, values: dict[str, Value], loss: float) -> None: ...


class Bayesian:
    """Gaussian-process optimisation by scikit-optimize: a quarter of the trials explores, the others go where an
    improvement is expected. (Jones, Schonlau & Welch, *Efficient Global Optimization*, 1998.)"""

    def __init__(self, space: Sequence[Dimension], seed: int, trials: int) -> None:
        if importlib.util.find_spec("skopt") is None:
            raise CannotLearn(
                "learn.search needs scikit-optimize: pip install 'understudy[search]'"
            )
        from skopt import Optimizer

        self._space = space
        first = max(2, trials // 4)
        self._optimizer: Any = Optimizer(
            [_skopt(one) for one in space], random_state=seed, n_initial_points=first, acq_func="EI"
        )

    def ask(self) -> dict[str, Value]:
        with warnings.catch_warnings(action="ignore"):  # that it asks twice, or that a fit has not converged
            found = self._optimizer.ask()
        return {one.name: _plain(one, value) for one, value in zip(self._space, found, strict=True)}

    def tell(self, values: dict[str, Value], loss: float) -> None:
        with warnings.catch_warnings(action="ignore"):
            self._optimizer.tell([values[one.name] for one in self._space], loss)


def _skopt(one: Dimension) -> Any:
    from skopt.space import Categorical, Integer, Real

    if one.kind == "flag":
        return Categorical([False, True])
    if one.kind == "whole":
        return Integer(int(one.low), int(one.high))
    return Real(one.low, one.high, prior="log-uniform")


def _plain(one: Dimension, value: Any) -> Value:
    return bool(value) if one.kind == "flag" else int(value) if one.kind == "whole" else float(value)
