"""Models that sort texts (sequence classification) or name their words (token classification), from a folder.

Only safetensors weights and fast tokenizers are read, and nothing in a folder is ever run.
A text longer than the model reads is judged in pieces that overlap, and counts as its worst piece.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.engines.guards.pools import CannotLoad, Question
from trainer.training.bases import BaseRefused, looked_at

_TOGETHER, _MOST_PIECES, _OVERLAP = 32, 512, 64


class Sorter:
    """``answers``: {label: probability} each; of a pair the first text is cut into pieces, the second stays whole."""

    def __init__(self, model: Any, tokenizer: Any, labels: Sequence[str], *, several: bool) -> None:
        """``several``: a text may have more than one label, so each has a probability of its own."""
        self._model, self._tokenizer, self._labels, self._several = (
            model.eval(),
            tokenizer,
            list(labels),
            several,
        )
        self._longest = longest_of(model, tokenizer)

    def answers(self, questions: Sequence[Question]) -> list[dict[str, float]]:
        """Raises ValueError for a text of more than 512 pieces."""
        whole = [
            (question, "") if isinstance(question, str) else (question[0], question[1])
            for question in questions
        ]
        worst: list[dict[str, float]] = []
        for first, second in whole:
            pieces = self._pieces(first, second)
            worst.append({
                label: max(float(row[index]) for row in pieces) for index, label in enumerate(self._labels)
            })  # fmt: skip
        return worst

    def _pieces(self, first: str, second: str) -> list[list[float]]:
        import torch

        tokens = self._tokenizer(
            first, second or None, truncation="only_first" if second else True, max_length=self._longest,
            stride=min(_OVERLAP, self._longest // 8), return_overflowing_tokens=True, padding=True,
            return_tensors="pt",
        )  # fmt: skip
        tokens.pop("overflow_to_sample_mapping", None)
        count = int(tokens["input_ids"].shape[0])
        if count > _MOST_PIECES:
            raise ValueError(f"a text of {count} pieces is too long to be judged")
        rows: list[list[float]] = []
        with torch.inference_mode():
            for start in range(0, count, _TOGETHER):
                part = {name: value[start : start + _TOGETHER] for name, value in tokens.items()}
                logits = self._model(**part).logits.float()
                rows += (torch.sigmoid(logits) if self._several else torch.softmax(logits, dim=-1)).tolist()
        return rows


def sorter(spec: Mapping[str, Any]) -> Sorter:
    """``{"kind": "sorter", "path": FOLDER}``. Raises CannotLoad."""
    from transformers import AutoModelForSequenceClassification

    model, tokenizer = loaded(str(spec["path"]), AutoModelForSequenceClassification)
    config = model.config
    labels = [str(config.id2label[index]) for index in range(config.num_labels)]
    several = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return Sorter(model, tokenizer, labels, several=several)


class Namer:
    """``answers``: [[start, end, label, probability], ...] each, of the words that the model names."""

    def __init__(self, model: Any, tokenizer: Any, longest: int) -> None:
        from transformers import TokenClassificationPipeline

        tokenizer.model_max_length = longest
        self._pipeline = TokenClassificationPipeline(
            model=model, tokenizer=tokenizer, aggregation_strategy="first", stride=min(_OVERLAP, longest // 8)
        )

    def answers(self, questions: Sequence[Question]) -> list[list[list[Any]]]:
        texts = [question if isinstance(question, str) else question[0] for question in questions]
        return [
            [
                [int(one["start"]), int(one["end"]), str(one["entity_group"]), float(one["score"])]
                for one in found
            ]
            for found in self._pipeline(texts)
        ]


def namer(spec: Mapping[str, Any]) -> Namer:
    """``{"kind": "namer", "path": FOLDER}``. Raises CannotLoad."""
    from transformers import AutoModelForTokenClassification

    model, tokenizer = loaded(str(spec["path"]), AutoModelForTokenClassification)
    return Namer(model, tokenizer, longest_of(model, tokenizer))


def loaded(path: str, kind: Any) -> tuple[Any, Any]:
    """A checked folder's model and tokenizer. Raises CannotLoad."""
    from transformers import AutoTokenizer
    from transformers.utils import logging as library

    library.disable_progress_bar()
    try:
        looked_at(Path(path))
        model, told = kind.from_pretrained(
            path,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            path, use_fast=True, trust_remote_code=False, local_files_only=True
        )
    except BaseRefused as problem:
        raise CannotLoad(f"{path}: {problem}") from None
    except Exception as problem:  # the libraries raise many kinds for a folder that does not fit together
        raise CannotLoad(f"{path}: {type(problem).__name__}: {problem}"[:300]) from None
    missing = sorted(told["missing_keys"])
    if missing:  # the library would make the head up at random
        raise CannotLoad(
            f"{path} has no weights for {', '.join(missing[:3])}: it is not a {kind.__name__[9:]} model"
        )
    return model.eval(), tokenizer


def longest_of(model: Any, tokenizer: Any) -> int:
    """Tokens that a model reads at once; positions of RoBERTa's kin begin after the padding."""
    config = model.config
    positions = int(getattr(config, "max_position_embeddings", 0) or 512)
    if config.model_type in {"roberta", "xlm-roberta", "camembert", "longformer", "mpnet"}:
        positions -= 2
    return max(8, min(positions, int(tokenizer.model_max_length), 8_192))
