"""A sentence encoder from a local folder, in numpy: BERT-shaped weights (safetensors), mean pooling, unit length.

The folder is a sentence-transformers folder (``config.json``, ``tokenizer.json``, ``model.safetensors``) of a BERT
(Devlin et al., 2019; Reimers & Gurevych, Sentence-BERT, 2019), for instance all-MiniLM-L6-v2. Nothing in it is
executed: JSON and safetensors are read, everything else is ignored. Needs the package ``tokenizers``
(``pip install 'understudy[embeddings]'``). A short text takes some ten milliseconds on one core.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import safetensors.numpy
from msgspec import Struct

from gateway.local_models.model_names import folder_of

Floats = npt.NDArray[np.float32]

CONFIG, MODEL, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
_MAX_BYTES = {CONFIG: 1 << 20, MODEL: 2 << 30, TOKENIZER: 64 << 20}
MAX_PIECES = 256
_BATCH = 32
_LAYERS = "encoder.layer."


class EncoderRefused(Exception):
    """The folder holds no encoder that can be used; the text says why, for a person."""


class _Config(Struct, frozen=True):
    model_type: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    max_position_embeddings: int = 512


class Shape(Struct, frozen=True):
    """What a computation of its own needs to know beside the weights."""

    layers: int
    heads: int
    size: int
    epsilon: float


class Pieces(Struct, frozen=True):
    """A text as the tokenizer cuts it: ``ids``, and the (start, end) characters of each, (0, 0) for marks of its own.
    ``whole``: nothing was cut off behind the longest length."""

    ids: list[int]
    offsets: list[tuple[int, int]]
    whole: bool


@dataclass(frozen=True, slots=True)
class Encoder:
    """``digest``: SHA-256 over configuration, tokenizer and weights, so that a student knows its encoder again.
    ``changed``: layers that a lesson tuned, by name; ``digest`` is still that of the folder."""

    digest: str
    path: str
    weights: Mapping[str, Floats]
    _config: _Config
    _tokenizer: Any
    changed: Mapping[str, Floats]

    @property
    def size(self) -> int:
        return self._config.hidden_size

    @property
    def shape(self) -> Shape:
        config = self._config
        return Shape(
            config.num_hidden_layers, config.num_attention_heads, config.hidden_size, config.layer_norm_eps
        )

    def layers(self) -> dict[str, Floats]:
        """The weights above the embeddings: what may be tuned."""
        return {name: one for name, one in self.weights.items() if name.startswith(_LAYERS)}

    def tuned(self, layers: Mapping[str, Floats]) -> Encoder:
        """The encoder with other layers. Raises ValueError when they are not exactly its layers in shape."""
        mine = {name: one.shape for name, one in self.layers().items()}
        if {name: one.shape for name, one in layers.items()} != mine:
            raise ValueError("these are not the layers of this encoder")
        laid = _laid_out(layers)
        return replace(self, weights={**self.weights, **laid}, changed=laid)

    def pieces(self, texts: Sequence[str]) -> list[Pieces]:
        most = min(MAX_PIECES, len(self.weights["embeddings.position_embeddings.weight"]))
        return [
            Pieces(one.ids[:most], one.offsets[:most], len(one.ids) <= most)
            for one in self._tokenizer.encode_batch(list(texts))
        ]

    def blanked(self, pieces: Pieces, spans: Sequence[tuple[int, int]]) -> Pieces:
        """The same pieces, those that share characters with ``spans`` unknown."""
        unknown = self._tokenizer.token_to_id("[MASK]") or self._tokenizer.token_to_id("[UNK]") or 0
        ids = [
            unknown if any(start < last and first < end for first, last in spans) else one
            for one, (start, end) in zip(pieces.ids, pieces.offsets, strict=True)
        ]
        return Pieces(ids, pieces.offsets, pieces.whole)

    def embed(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (texts, size). The result for a text does not depend on the others beyond rounding."""
        return pooled(self.read(self.pieces(texts)), self.size)

    def read(self, pieces: Sequence[Pieces]) -> list[Floats]:
        """The last layer's vector of each piece: (pieces, size) for each text."""
        found: dict[int, Floats] = {}
        order = sorted(range(len(pieces)), key=lambda number: len(pieces[number].ids))
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            hidden = self._forward([pieces[number].ids for number in batch])
            for row, number in enumerate(batch):
                found[number] = hidden[row, : len(pieces[number].ids)]
        return [found[number] for number in range(len(pieces))]

    def _forward(self, ids: Sequence[Sequence[int]]) -> Floats:
        longest = max(1, *(len(one) for one in ids))
        table = np.zeros((len(ids), longest), dtype=np.int64)
        mask = np.zeros((len(ids), longest), dtype=np.float32)
        for row, one in enumerate(ids):
            table[row, : len(one)], mask[row, : len(one)] = one, 1.0
        weights = self.weights
        hidden = (
            weights["embeddings.word_embeddings.weight"][table]
            + weights["embeddings.position_embeddings.weight"][:longest]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._norm(hidden, "embeddings.LayerNorm")
        for layer in range(self._config.num_hidden_layers):
            hidden = self._layer(hidden, mask, f"{_LAYERS}{layer}")
        return hidden

    def _layer(self, hidden: Floats, mask: Floats, name: str) -> Floats:
        rows, length, size = hidden.shape
        heads = self._config.num_attention_heads

        def split(part: str) -> Floats:
            made = self._linear(hidden, f"{name}.attention.self.{part}")
            return made.reshape(rows, length, heads, size // heads).transpose(0, 2, 1, 3)

        scores = split("query") @ split("key").transpose(0, 1, 3, 2) / np.float32(np.sqrt(size // heads))
        scores += (mask[:, None, None, :] - 1.0) * np.float32(1e9)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ split("value")).transpose(0, 2, 1, 3).reshape(rows, length, size)
        hidden = self._norm(
            hidden + self._linear(mixed, f"{name}.attention.output.dense"),
            f"{name}.attention.output.LayerNorm",
        )
        inner = _gelu(self._linear(hidden, f"{name}.intermediate.dense"))
        return self._norm(hidden + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _linear(self, hidden: Floats, name: str) -> Floats:
        flat = hidden.reshape(-1, hidden.shape[-1]) @ self.weights[f"{name}.weight"].T
        flat += self.weights[f"{name}.bias"]
        result: Floats = flat.reshape(*hidden.shape[:-1], -1)
        return result

    def _norm(self, hidden: Floats, name: str) -> Floats:
        centred = hidden - hidden.mean(axis=-1, keepdims=True)
        spread = np.sqrt(
            (centred * centred).mean(axis=-1, keepdims=True) + np.float32(self._config.layer_norm_eps)
        )
        result: Floats = centred / spread * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        return result


def pooled(read: Sequence[Floats], size: int) -> Floats:
    """Unit vectors (texts, size) in the direction of each text's mean piece."""
    result = np.zeros((len(read), size), dtype=np.float32)
    for row, hidden in enumerate(read):
        if len(hidden):
            mean = hidden.mean(axis=0)
            result[row] = mean / max(float(np.linalg.norm(mean)), 1e-9)
    return result


def _gelu(values: Floats) -> Floats:
    """x·Φ(x), with the error function after Abramowitz & Stegun 7.1.26 (error below 1.5e-7)."""
    scaled = np.abs(values) * np.float32(0.7071067811865476)
    t = 1.0 / (1.0 + np.float32(0.3275911) * scaled)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.sign(values) * (1.0 - series * np.exp(-scaled * scaled))
    result: Floats = (values * 0.5 * (1.0 + erf)).astype(np.float32)
    return result


def likeness(path: str, one: str, other: str) -> float:
    """Cosine of two texts' embeddings, 0 where it is negative. Raises EncoderRefused."""
    first, second = load(path).embed([one, other])
    return min(1.0, max(0.0, float(first @ second)))


@functools.lru_cache(maxsize=2)
def load(path: str) -> Encoder:
    """The encoder in a folder, or of a name on the hub that was downloaded before, read once for each process. Raises
    EncoderRefused."""
    try:
        from tokenizers import Tokenizer  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise EncoderRefused(
            "an encoder needs the package tokenizers: pip install 'understudy[embeddings]'"
        ) from None
    folder = folder_of(path)
    data = {name: _read(folder, name) for name in (CONFIG, TOKENIZER, MODEL)}
    digest = hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in data.values())).hexdigest()
    try:
        config = msgspec.json.decode(data[CONFIG], type=_Config)
        weights = safetensors.numpy.load(data[MODEL])
        tokenizer = Tokenizer.from_str(data[TOKENIZER].decode())
    except Exception as problem:  # three libraries, each with kinds of its own for damaged files
        raise EncoderRefused(f"the encoder's files cannot be read: {type(problem).__name__}") from None
    if config.model_type != "bert" or config.hidden_act != "gelu":
        raise EncoderRefused(
            f"only BERT encoders with gelu are known, this is {config.model_type} ({config.hidden_act})"
        )
    weights = _laid_out({name.removeprefix("bert."): tensor.astype(np.float32)
                         for name, tensor in weights.items() if tensor.dtype.kind == "f"})  # fmt: skip
    tokenizer.no_padding()
    tokenizer.no_truncation()
    encoder = Encoder(digest, path, weights, config, tokenizer, {})
    try:
        encoder.embed(["a test"])
    except (KeyError, ValueError, IndexError) as problem:
        raise EncoderRefused(f"the encoder's weights do not fit its configuration: {problem}") from None
    return encoder


def _laid_out(weights: Mapping[str, Floats]) -> dict[str, Floats]:
    """The same values; a layer's matrices column by column, as its products read them: a third faster."""
    return {
        name: np.asfortranarray(one) if one.ndim == 2 and name.startswith(_LAYERS) else one
        for name, one in weights.items()
    }


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.is_file() or path.stat().st_size > _MAX_BYTES[name]:
        raise EncoderRefused(f"the encoder's folder needs a {name} of at most {_MAX_BYTES[name]} bytes")
    return path.read_bytes()
