"""A BERT encoder with a tagger and closed heads on top, in torch, with gradients.

It computes what ``gateway.local_models.encoder`` does. The weights keep the names they have in the encoder's folder, so
what was learnt is served by numpy. The embeddings stay as they are: words that no call had keep the place they have
among the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import Module, Parameter, ParameterDict
from torch.nn import functional as functions

from gateway.local_models.encoder import Encoder
from trainer.features.terms import EMBEDDING_SCALE, Floats
from trainer.features.vectors import TOKEN_SCALE
from trainer.training.sights import Sight, Sizes

Tensor = Any
_DROPOUT = 0.1
_TERMS_LEFT_OUT = 0.3
"""Share of the words and shapes that a step does not see: else the names it was shown are learnt by heart."""
_FAST = {"terms": 10.0, "features": 60.0, "vectors": 10.0, "bias": 10.0}
"""Heads begin at nothing and are learnt so many times faster than the encoder, which knows much already."""


class Reader(Module):  # type: ignore[misc]
    """Encoder layers, tagger and heads. The parameters' names sort the same everywhere."""

    def __init__(self, encoder: Encoder, sizes: Sizes) -> None:
        super().__init__()
        self._shape, self._sizes = encoder.shape, sizes
        self.layers = ParameterDict(
            {_key(name): Parameter(_tensor(one)) for name, one in encoder.layers().items()}
        )
        fixed = {name: one for name, one in encoder.weights.items() if name.startswith("embeddings.")}
        self._fixed = {name: _tensor(one) for name, one in fixed.items()}
        size = encoder.size
        heads: dict[str, tuple[int, ...]] = {
            "tags/terms": (sizes.terms, sizes.tags),
            "tags/vectors": (size, sizes.tags),
            "tags/bias": (sizes.tags,),
        }
        for number, labels in enumerate(sizes.labels):
            heads[f"{number}/features"] = (sizes.features, labels)
            heads[f"{number}/vectors"] = (size, labels)
            heads[f"{number}/bias"] = (labels,)
        self.heads = ParameterDict({name: Parameter(torch.zeros(shape)) for name, shape in heads.items()})

    def head(self, name: str) -> Tensor:
        return self.heads[name] * _FAST[name.rpartition("/")[2]]

    # ------------------------------------------------------------ the encoder
    def hidden(self, ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """(texts, longest, size) and the mask (texts, longest) of what is there."""
        longest = max(map(len, ids))
        table = torch.tensor([[*one, *([0] * (longest - len(one)))] for one in ids])
        mask = torch.tensor([[True] * len(one) + [False] * (longest - len(one)) for one in ids])
        fixed = self._fixed
        found = (
            functions.embedding(table, fixed["embeddings.word_embeddings.weight"])
            + fixed["embeddings.position_embeddings.weight"][:longest]
            + fixed["embeddings.token_type_embeddings.weight"][0]
        )
        norm = fixed["embeddings.LayerNorm.weight"], fixed["embeddings.LayerNorm.bias"]
        found = self._drop(functions.layer_norm(found, (self._shape.size,), *norm, self._shape.epsilon))
        for layer in range(self._shape.layers):
            found = self._layer(found, mask[:, None, None, :], f"encoder.layer.{layer}")
        return found, mask

    def _layer(self, hidden: Tensor, mask: Tensor, name: str) -> Tensor:
        rows, length, size = hidden.shape
        heads = self._shape.heads

        def split(part: str) -> Tensor:
            made = self._linear(hidden, f"{name}.attention.self.{part}")
            return made.reshape(rows, length, heads, size // heads).transpose(1, 2)

        mixed = functions.scaled_dot_product_attention(
            split("query"), split("key"), split("value"), attn_mask=mask,
            dropout_p=_DROPOUT if self.training else 0.0,
        )  # fmt: skip
        mixed = mixed.transpose(1, 2).reshape(rows, length, size)
        mixed = self._drop(self._linear(mixed, f"{name}.attention.output.dense"))
        hidden = self._norm(hidden + mixed, f"{name}.attention.output.LayerNorm")
        inner = functions.gelu(self._linear(hidden, f"{name}.intermediate.dense"))
        outer = self._drop(self._linear(inner, f"{name}.output.dense"))
        return self._norm(hidden + outer, f"{name}.output.LayerNorm")

    def _linear(self, hidden: Tensor, name: str) -> Tensor:
        return functions.linear(
            hidden, self._layer_weight(f"{name}.weight"), self._layer_weight(f"{name}.bias")
        )

    def _norm(self, hidden: Tensor, name: str) -> Tensor:
        weight, bias = self._layer_weight(f"{name}.weight"), self._layer_weight(f"{name}.bias")
        return functions.layer_norm(hidden, (self._shape.size,), weight, bias, self._shape.epsilon)

    def _layer_weight(self, name: str) -> Tensor:
        return self.layers[_key(name)]

    def _drop(self, hidden: Tensor) -> Tensor:
        return functions.dropout(hidden, _DROPOUT, self.training)

    # ------------------------------------------------------------ what is asked of it
    def loss(self, rows: Sequence[Sight]) -> tuple[Tensor, float]:
        """Sum over the rows of weight times the log loss of the whole object (tokens and heads), and of the weights."""
        hidden, mask = self.hidden([row.ids for row in rows])
        weight = torch.tensor([row.weight for row in rows], dtype=torch.float32)
        total = self._tag_loss(hidden, rows) if self._sizes.tags else torch.zeros(len(rows))
        if self._sizes.labels:
            total = total + self._head_loss(hidden, mask, rows)
        return (total * weight).sum(), float(weight.sum())

    def _tag_loss(self, hidden: Tensor, rows: Sequence[Sight]) -> Tensor:
        """(rows,); a row whose tags are not known has none."""
        known = [(number, row) for number, row in enumerate(rows) if row.tags]
        total = torch.zeros(len(rows))
        if not known:
            return total
        words = [
            torch.from_numpy(np.ascontiguousarray(row.alignment)) @ hidden[number, : len(row.ids)]
            for number, row in known
        ]
        vectors = functions.normalize(torch.cat(words), dim=-1) * float(TOKEN_SCALE)
        terms = [one for _, row in known for one in row.terms]
        logits = vectors @ self.head("tags/vectors") + self._term_logits(terms) + self.head("tags/bias")
        tags = torch.tensor([tag for _, row in known for tag in row.tags or ()])
        owner = torch.tensor([number for number, row in known for _ in row.tags or ()])
        return total.index_add(0, owner, functions.cross_entropy(logits, tags, reduction="none"))

    def _term_logits(self, terms: Sequence[Sequence[int]]) -> Tensor:
        flat = torch.tensor([column for one in terms for column in one], dtype=torch.long)
        starts = torch.tensor(np.cumsum([0, *(len(one) for one in terms[:-1])]))
        kept = torch.ones(len(flat))
        if self.training:
            kept = (torch.rand(len(flat)) >= _TERMS_LEFT_OUT).float() / (1.0 - _TERMS_LEFT_OUT)
        return functions.embedding_bag(
            flat, self.head("tags/terms"), starts, mode="sum", per_sample_weights=kept
        )

    def _head_loss(self, hidden: Tensor, mask: Tensor, rows: Sequence[Sight]) -> Tensor:
        there = mask[..., None].to(hidden.dtype)
        mean = (hidden * there).sum(1) / there.sum(1).clamp_min(1.0)
        vectors = functions.normalize(mean, dim=-1) * float(EMBEDDING_SCALE)
        columns = torch.from_numpy(np.concatenate([row.columns for row in rows]))
        values = torch.from_numpy(np.concatenate([row.values for row in rows]))
        starts = torch.tensor(np.cumsum([0, *(len(row.columns) for row in rows[:-1])]))
        total = torch.zeros(len(rows))
        for number in range(len(self._sizes.labels)):
            labels = torch.tensor([row.labels[number] for row in rows])
            logits = vectors @ self.head(f"{number}/vectors") + self.head(f"{number}/bias")
            if self._sizes.features:
                logits = logits + functions.embedding_bag(
                    columns, self.head(f"{number}/features"), starts, mode="sum", per_sample_weights=values
                )
            total = total + functions.cross_entropy(logits, labels, reduction="none", ignore_index=-1)
        return total

    # ------------------------------------------------------------ what it hands back
    def layer_arrays(self) -> dict[str, Floats]:
        return {name.replace("/", "."): _array(one) for name, one in self.layers.items()}

    def head_arrays(self) -> Mapping[str, Floats]:
        return {name: _array(self.head(name)) for name in self.heads}


def _key(name: str) -> str:
    """torch keeps dots in names for itself."""
    return name.replace(".", "/")


def _tensor(array: Floats) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def _array(tensor: Tensor) -> Floats:
    return np.array(tensor.detach().numpy(), dtype=np.float32)
