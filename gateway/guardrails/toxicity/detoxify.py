"""Toxic language by Detoxify's models, run in the process of the guard models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from msgspec import field

from gateway.guardrails.scored import Scored, Threshold

Label = Literal[
    "toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack", "sexual_explicit"
]
CATEGORIES: Mapping[str, str] = {
    "toxicity": "harassment", "insult": "harassment", "threat": "harassment/threatening", "identity_attack": "hate",
    "sexual_explicit": "sexual",
}  # fmt: skip
"""Detoxify's labels under the moderation API's names. Severe toxicity and obscenity have none of their own there."""
_WITHOUT = {"original": ("sexual_explicit",), "original-small": ("sexual_explicit",)}


class Detoxify(Scored, frozen=True, kw_only=True, tag="detoxify", tag_field="type"):
    """``thresholds``: from which probability each label is a find. ``checkpoint``: a file of Detoxify's, with
    ``config``, a folder that holds the configuration and the tokenizer of the model it was made from. Without them
    Detoxify downloads ``model`` at the start, which ``download: true`` has to allow."""

    model: Literal["original", "unbiased", "multilingual", "original-small", "unbiased-small"] = "original"
    checkpoint: str = ""
    config: str = ""
    download: bool = False
    thresholds: dict[Label, Threshold] = field(default_factory=lambda: {"toxicity": 0.5})

    def __post_init__(self) -> None:
        if not self.thresholds:
            raise ValueError("'thresholds' must name at least one label, such as {toxicity: 0.5}.")
        unknown = [one for one in self.thresholds if one in _WITHOUT.get(self.model, ())]
        if unknown:
            raise ValueError(f"Detoxify's '{self.model}' has no label '{unknown[0]}'; 'unbiased' has.")
        if bool(self.checkpoint) != bool(self.config):
            raise ValueError("'checkpoint' and 'config' belong together: name both, or neither.")
        if not self.checkpoint and not self.download:
            raise ValueError("name 'checkpoint' and 'config', or let Detoxify download its model: 'download: true'.")
        if self.checkpoint and not Path(self.checkpoint).is_file():
            raise ValueError(f"there is no checkpoint '{self.checkpoint}'.")
        if self.config and not (Path(self.config) / "config.json").is_file():
            raise ValueError(f"there is no config.json in '{self.config}'.")

    @property
    def least(self) -> Mapping[str, float]:
        return {str(label): least for label, least in self.thresholds.items()}

    @property
    def called(self) -> Mapping[str, str]:
        return CATEGORIES

    @property
    def spec(self) -> dict[str, Any]:
        if not self.checkpoint:
            return {"kind": "toxic", "model": self.model, "download": True}
        checkpoint, config = (str(Path(path).resolve()) for path in (self.checkpoint, self.config))
        return {"kind": "toxic", "model": self.model, "checkpoint": checkpoint, "config": config}
