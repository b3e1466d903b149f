"""A sequence-classification model of your own, from a folder, run in the process of the guard models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.guardrails.guardrail import Category
from gateway.guardrails.model_folder import check_label, sorter_spec
from gateway.guardrails.scored import Scored, Threshold


class Classifier(Scored, frozen=True, kw_only=True, tag="classifier", tag_field="type"):
    """``labels``: from which probability each is a find. ``categories``: what a label is called by
    ``/v1/moderations``."""

    model: str
    labels: dict[str, Threshold]
    categories: dict[str, Category] = {}

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError("'labels' must name at least one label and its probability, such as {INJECTION: 0.5}.")
        for label in (*self.labels, *self.categories):
            try:
                check_label(self.model, label)
            except ValueError as problem:
                raise ValueError(f"'model' cannot be used: {problem}.") from None

    @property
    def least(self) -> Mapping[str, float]:
        return self.labels

    @property
    def called(self) -> Mapping[str, str]:
        return self.categories

    @property
    def spec(self) -> dict[str, Any]:
        return sorter_spec(self.model)
