"""Recipe: a causal language model first imitates, then learns which of two answers is the better one."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from trainer.recipes.example import CannotLearn, Example, Recipe, Tick, Trained
from trainer.recipes.generative import Means
from trainer.recipes.space import Dimension, Value
from trainer.training import together


class DpoRecipe(Struct, frozen=True, tag="dpo", tag_field="type", forbid_unknown_fields=True):
    """Direct preference optimisation, or IPO. What is preferred is the example's answer over each ``rejected``."""

    means: Means = field(default_factory=Means)

    def space(self) -> list[Dimension]:
        return self.means.space()

    def tried(self, values: dict[str, Value], means: Means) -> DpoRecipe:
        return DpoRecipe(means=means.with_values(values))

    def build(self) -> Recipe:
        return _Dpo(self.means)


class _Dpo:
    def __init__(self, means: Means) -> None:
        self._means = means

    def train(self, examples: Sequence[Example], *, seed: int, tick: Tick) -> Trained:
        plan = self._means.ready(examples)
        if not any(example.rejected for example in examples):
            raise CannotLearn(
                "no student in shadow has answered differently from the teacher yet: nothing to prefer"
            )
        if together.wanted(plan, self._means):
            return together.teach("dpo", examples, plan, self._means, seed, tick)
        from trainer.training import lesson

        tick(0.02, f"loading {plan.base}")
        mine = lesson.begin(examples, plan, self._means, seed, tick)
        first = lesson.imitate(mine, lambda done, step: tick(0.05 + 0.4 * done, step))
        second, pairs = lesson.prefer(
            mine, lambda done, step: tick(0.45 + 0.4 * done, f"preferences, {step}")
        )
        numbers = {
            **lesson.numbers_of(first),
            **lesson.numbers_of(second, "preference_"),
            "pairs": float(pairs),
        }
        return lesson.finish(mine, numbers, tick)
