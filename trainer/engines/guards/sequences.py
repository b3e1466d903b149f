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
_Piece = dict[str, list[int]]


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
        """All texts' pieces go through the model together. Raises ValueError for a text of more than 512 pieces."""
        pieces, mine = self._pieces(questions)
        rows = self._rows(pieces)
        return [
            {label: max(rows[at][index] for at in every) for index, label in enumerate(self._labels)}
            for every in mine
        ]

    def _pieces(self, questions: Sequence[Question]) -> tuple[list[_Piece], list[list[int]]]:
        """The pieces of all questions, and for each question which of them are its."""
        pieces: list[_Piece] = []
        mine: list[list[int]] = []
        for question in questions:
            first, second = (question, "") if isinstance(question, str) else (question[0], question[1])
            tokens = self._tokenizer(
                first, second or None, truncation="only_first" if second else True, max_length=self._longest,
                stride=min(_OVERLAP, self._longest // 8), return_overflowing_tokens=True,
            )  # fmt: skip
            tokens.pop("overflow_to_sample_mapping", None)
            count = len(tokens["input_ids"])
            if count > _MOST_PIECES:
                raise ValueError(f"a text of {count} pieces is too long to be judged")
            mine.append(list(range(len(pieces), len(pieces) + count)))
            pieces += [{name: value[at] for name, value in tokens.items()} for at in range(count)]
        return pieces, mine

    def _rows(self, pieces: Sequence[_Piece]) -> list[list[float]]:
        """A probability for each label. Pieces of about the same length stand together: what fills them up costs
        as much as words."""
        import torch

        order = sorted(range(len(pieces)), key=lambda at: len(pieces[at]["input_ids"]))
        together = _TOGETHER if self._tokenizer.pad_token_id is not None else 1
        rows: list[list[float]] = [[] for _ in pieces]
        with torch.inference_mode():
            for start in range(0, len(order), together):
                part = order[start : start + together]
                logits = self._model(**self._filled([pieces[at] for at in part])).logits.float()
                found = torch.sigmoid(logits) if self._several else torch.softmax(logits, dim=-1)
                for at, row in zip(part, found.tolist(), strict=True):
                    rows[at] = row
        return rows

    def _filled(self, pieces: Sequence[_Piece]) -> dict[str, Any]:
        """The pieces as tensors of one length."""
        import torch

        longest = max(len(one["input_ids"]) for one in pieces)
        left = self._tokenizer.padding_side == "left"
        found: dict[str, Any] = {}
        for name in pieces[0]:
            filler = (self._tokenizer.pad_token_id or 0) if name == "input_ids" else 0
            rows = [(one[name], [filler] * (longest - len(one[name]))) for one in pieces]
            found[name] = torch.tensor([blank + row if left else row + blank for row, blank in rows])
        return found


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
            model=model, tokenizer=tokenizer, aggregation_strategy="first", stride=min(_OVERLAP, longest // 8),
            batch_size=_TOGETHER if tokenizer.pad_token_id is not None else 1,
        )  # fmt: skip

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
