"""Recipes: how a student is trained. The union below is the registry and the YAML schema; ``LADDER`` is the
order in which they are tried, cheapest student first, and of the language models the one that needs most to learn
from: a new recipe is one file and one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from trainer.recipes.classifier import ClassifierRecipe, FeatureKind
from trainer.recipes.distill import DistillRecipe
from trainer.recipes.dpo import DpoRecipe
from trainer.recipes.example import SAME, TAUGHT, CannotLearn, Example, Tick, Trained
from trainer.recipes.extractor import ExtractorRecipe
from trainer.recipes.generative import Means
from trainer.recipes.search import search
from trainer.recipes.sft import SftRecipe
from trainer.recipes.space import Value

RecipeSettings = ClassifierRecipe | ExtractorRecipe | SftRecipe | DistillRecipe | DpoRecipe
LADDER: tuple[type[RecipeSettings], ...] = (
    ClassifierRecipe,
    ExtractorRecipe,
    DpoRecipe,
    DistillRecipe,
    SftRecipe,
)
_BY_NAME_ALONE = ("distill", "dpo")

__all__ = [
    "LADDER",
    "SAME",
    "TAUGHT",
    "CannotLearn",
    "Example",
    "Means",
    "RecipeSettings",
    "Tick",
    "Trained",
    "Way",
    "train_first",
    "train_one",
    "ways",
]


class Way(Struct, frozen=True):
    """One candidate of a round: a recipe, and what it looks at. ``name`` is also a folder's."""

    name: str
    recipe: str
    features: FeatureKind


def ways(
    wanted: str | Sequence[str], *, features: FeatureKind = "auto", encoder: str | None = None,
    base: bool = False, varied: bool = False,
) -> list[Way]:  # fmt: skip
    """The ladder's recipes among ``wanted`` (names, or "auto": the cheap ones, then ``sft`` where there is a ``base``),
    in its order. ``varied``: behind them, those that look at sentence embeddings again, without them and with nothing
    else, where nothing says what they look at."""
    named = [str(kind.__struct_config__.tag) for kind in LADDER]
    if wanted == "auto":
        named = [one for one in named if one not in _BY_NAME_ALONE and (one != "sft" or base)]
    else:
        named = [one for one in named if one in wanted]
    found = [Way(one, one, features) for one in named]
    if varied and encoder and features == "auto":
        looks: list[tuple[str, FeatureKind]] = [
            ("classifier", "tfidf"), ("extractor", "tfidf"), ("classifier", "embedding")
        ]  # fmt: skip
        found += [Way(f"{recipe}-{look}", recipe, look) for recipe, look in looks if recipe in named]
    return found


def train_one(
    way: Way, examples: Sequence[Example], *, seed: int, tick: Tick, encoder: str | None, means: Means
) -> Trained:
    """Raises CannotLearn when the recipe cannot do the task, or not with these features."""
    kind = next(one for one in LADDER if one.__struct_config__.tag == way.recipe)
    settings = _settings(kind, encoder, way.features, means)
    return _train(settings, examples, seed=seed, tick=tick, means=means)


def train_first(
    wanted: str | Sequence[str], examples: Sequence[Example], *, seed: int, tick: Tick,
    encoder: str | None = None, features: FeatureKind = "auto", means: Means | None = None,
) -> tuple[str, Trained]:  # fmt: skip
    """Trains with the first recipe of the ladder that can do the task, among ``wanted`` (names, or "auto": the
    cheap ones, then ``sft`` when ``means`` has a base). ``encoder`` and ``features`` are for those that look at
    sentence embeddings, ``means`` for language models. → its name and what it made. Raises CannotLearn with
    every recipe's reason."""
    means = means or Means()
    reasons: list[str] = []
    for way in ways(wanted, features=features, base=means.plan is not None):
        try:
            return way.recipe, train_one(way, examples, seed=seed, tick=tick, encoder=encoder, means=means)
        except CannotLearn as problem:
            reasons.append(f"{way.recipe}: {problem}")
    raise CannotLearn("; ".join(reasons) or "the task names no recipe that exists")


def _train(
    settings: RecipeSettings, examples: Sequence[Example], *, seed: int, tick: Tick, means: Means
) -> Trained:
    """Trains once, or as often as a search allows. Raises CannotLearn."""
    if means.search is None:
        return settings.build().train(examples, seed=seed, tick=tick)
    trials = means.search.trials

    def attempt(values: dict[str, Value], workspace: Path, number: int) -> Trained:
        own = msgspec.structs.replace(means, workspace=workspace)
        return settings.tried(values, own).build().train(
            examples, seed=seed, tick=lambda done, step: tick(min(1.0, (number + done) / trials), step)
        )  # fmt: skip

    return search(attempt, settings.space(), means.search, seed, means.workspace, means.note)


def _settings(
    kind: type[RecipeSettings], encoder: str | None, features: FeatureKind, means: Means
) -> RecipeSettings:
    """Raises CannotLearn for features that nothing can make."""
    if kind in {ClassifierRecipe, ExtractorRecipe} and features in {"embedding", "both"} and encoder is None:
        raise CannotLearn(f"features: {features} needs an encoder")
    if kind is ClassifierRecipe:
        return ClassifierRecipe(encoder=encoder, features=features, means=means)
    if kind is ExtractorRecipe:
        return ExtractorRecipe(encoder=None if features == "tfidf" else encoder, means=means)
    return kind(means=means)
