"""Detoxify's models: from a checkpoint and a folder with their configuration and tokenizer, or downloaded by Detoxify.

A checkpoint is a pickle, which could run anything. torch is told to take nothing but weights out of it
(``TORCH_FORCE_WEIGHTS_ONLY_LOAD``, whatever Detoxify asks), so one that holds more is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.engines.guards.pools import CannotLoad
from trainer.engines.guards.sequences import Sorter

os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
_KIND = "ForSequenceClassification"
_LABELS = frozenset({"toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack"})
_MORE = frozenset({"sexual_explicit"})
"""What every model of Detoxify's tells, and what all but the original ones tell besides."""


def toxic(spec: Mapping[str, Any]) -> Sorter:
    """``{"kind": "toxic", "model": NAME, "checkpoint": FILE, "config": FOLDER, "download": bool}``. Raises
    CannotLoad."""
    try:
        from detoxify import detoxify as library
    except ImportError:
        raise CannotLoad("Detoxify needs the extra: pip install 'understudy[guardrails]'") from None
    checkpoint, config = spec.get("checkpoint"), spec.get("config")
    if checkpoint and not Path(checkpoint).is_file():
        raise CannotLoad(f"there is no checkpoint {checkpoint!r}")
    if config and not (Path(config) / "config.json").is_file():
        raise CannotLoad(f"there is no config.json in {config!r}")
    if config:
        library.get_model_and_tokenizer = _from_folder
    try:
        found = library.Detoxify(
            str(spec["model"]), checkpoint=checkpoint or None, huggingface_config_path=config or None
        )
    except (
        Exception
    ) as problem:  # a pickle that holds more than weights, a name without a network, shapes that differ
        why = str(problem).splitlines()[0] if str(problem) else ""
        raise CannotLoad(
            f"Detoxify's {checkpoint or spec['model']}: {type(problem).__name__}: {why}"[:300]
        ) from None
    promised = _LABELS if str(spec["model"]).startswith("original") else _LABELS | _MORE
    missing = sorted(promised.difference(found.class_names))
    if missing:  # or each text would fail, at the first call
        raise CannotLoad(
            f"{checkpoint or spec['model']} has no label {missing[0]!r}, which Detoxify's {spec['model']!r} has: "
            "name the 'model' that the checkpoint is one of"
        )
    return Sorter(found.model, found.tokenizer, found.class_names, several=True)


def _from_folder(
    model_type: str, model_name: str, tokenizer_name: str, num_classes: int, state_dict: Mapping[str, Any],
    huggingface_config_path: str,
) -> tuple[Any, Any]:  # fmt: skip
    """In place of Detoxify's own function, which asks the model hub even where it was given a folder."""
    import transformers

    if not model_name.endswith(_KIND):
        raise CannotLoad(f"its checkpoint names {model_name[:60]!r}, which does not sort texts")
    kind = getattr(transformers, model_name)
    folder = huggingface_config_path
    model = kind(kind.config_class.from_pretrained(folder, num_labels=num_classes, local_files_only=True))
    # Old checkpoints hold position numbers that newer versions of the library make themselves.
    weights = {name: one for name, one in state_dict.items() if not name.endswith("position_ids")}
    model.load_state_dict(weights)
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder, use_fast=True, trust_remote_code=False, local_files_only=True
    )
    return model, tokenizer
