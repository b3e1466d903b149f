"""Recipe: a causal language model learns the teacher's answers word for word, by adapters or whole."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from trainer.recipes.example import Example, Recipe, Tick, Trained
from trainer.recipes.generative import Means
from trainer.recipes.space import Dimension, Value
from trainer.training import together


class SftRecipe(Struct, frozen=True, tag="sft", tag_field="type", forbid_unknown_fields=True):
    """Sequence-level distillation."""

    means: Means = field(default_factory=Means)

    def space(self) -> list[Dimension]:
        return self.means.space()

    def tried(self, values: dict[str, Value], means: Means) -> SftRecipe:
        return SftRecipe(means=means.with_values(values))

    def build(self) -> Recipe:
        return _Sft(self.means)


class _Sft:
    def __init__(self, means: Means) -> None:
        self._means = means

    def train(self, examples: Sequence[Example], *, seed: int, tick: Tick) -> Trained:
        plan = self._means.ready(examples)
        if together.wanted(plan, self._means):
            return together.teach("sft", examples, plan, self._means, seed, tick)
        from trainer.training import lesson

        tick(0.02, f"loading {plan.base}")
        mine = lesson.begin(examples, plan, self._means, seed, tick)
        progress = lesson.imitate(mine, lambda done, step: tick(0.05 + 0.8 * done, step))
        return lesson.finish(mine, lesson.numbers_of(progress), tick)
