"""Recipes: how a student is trained. The union below is the registry and the YAML schema; ``LADDER`` is the
order in which they are tried, cheapest student first: a new recipe is one file and one line."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trainer.recipes.classifier import ClassifierRecipe, FeatureKind
from trainer.recipes.example import SAME, CannotLearn, Example, Tick, Trained
from trainer.recipes.extractor import ExtractorRecipe

RecipeSettings = ClassifierRecipe | ExtractorRecipe
LADDER: tuple[type[RecipeSettings], ...] = (ClassifierRecipe, ExtractorRecipe)

__all__ = ["LADDER", "SAME", "CannotLearn", "Example", "RecipeSettings", "Tick", "Trained", "train_first"]


def train_first(
    wanted: str | Sequence[str], examples: Sequence[Example], *, seed: int, tick: Tick,
    encoder: str | None = None, features: FeatureKind = "auto",
) -> tuple[str, Trained]:  # fmt: skip
    """Trains with the first recipe of the ladder that can do the task, among ``wanted`` (names, or "auto" for
    all). ``encoder`` and ``features`` are for those that look at sentence embeddings. → its name and what it
    made. Raises CannotLearn with every recipe's reason."""
    reasons: list[str] = []
    for kind in LADDER:
        settings = kind(encoder=encoder, features=features) if kind is ClassifierRecipe else kind()
        name = str(msgspec.to_builtins(settings)["type"])
        if wanted != "auto" and name not in wanted:
            continue
        try:
            return name, settings.build().train(examples, seed=seed, tick=tick)
        except CannotLearn as problem:
            reasons.append(f"{name}: {problem}")
    raise CannotLearn("; ".join(reasons) or "the task names no recipe that exists")
