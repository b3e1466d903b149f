"""Recipe: a causal language model learns what the teacher thought of every token, not only which one it wrote."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from trainer.recipes.example import CannotLearn, Example, Recipe, Tick, Trained
from trainer.recipes.generative import Means
from trainer.recipes.space import Dimension, Value
from trainer.training import together


class DistillRecipe(Struct, frozen=True, tag="distill", tag_field="type", forbid_unknown_fields=True):
    """Token-level distillation, from captured ``top_logprobs`` or from a local teacher."""

    means: Means = field(default_factory=Means)

    def space(self) -> list[Dimension]:
        return self.means.space()

    def tried(self, values: dict[str, Value], means: Means) -> DistillRecipe:
        return DistillRecipe(means=means.with_values(values))

    def build(self) -> Recipe:
        return _Distill(self.means)


class _Distill:
    def __init__(self, means: Means) -> None:
        self._means = means

    def train(self, examples: Sequence[Example], *, seed: int, tick: Tick) -> Trained:
        plan = self._means.ready(examples)
        if not plan.distillation.teacher and not any(example.teacher for example in examples):
            raise CannotLearn(
                "no captured answer carries the teacher's top_logprobs: set capture.logprobs, or name a local teacher"
            )
        if together.wanted(plan, self._means):
            return together.teach("distill", examples, plan, self._means, seed, tick)
        from trainer.training import lesson

        tick(0.02, f"loading {plan.base}")
        mine = lesson.begin(examples, plan, self._means, seed, tick)
        progress, heard = lesson.distil(mine, lambda done, step: tick(0.05 + 0.8 * done, step))
        return lesson.finish(mine, {**lesson.numbers_of(progress), "teacher_heard": round(heard, 6)}, tick)
