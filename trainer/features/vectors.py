"""What a sentence encoder says of a text and of each of its words, as features beside words and shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.local_models.encoder import Encoder, Pieces, pooled
from trainer.features.terms import EMBEDDING_SCALE, Floats

TOKEN_SCALE = np.float32(4.0)
"""Length of a word's vector beside its nineteen terms, which have length √19 together."""


class Seen:
    """A text as an encoder sees it: ``text`` (size,), its vector; ``words`` (tokens, size), one row a token.

    ``whole``: no token lies behind the encoder's longest length; those that do have a vector of zeros."""

    __slots__ = ("text", "whole", "words")

    def __init__(self, text: Floats, words: Floats, whole: bool) -> None:
        self.text, self.words, self.whole = text, words, whole


Spans = Sequence[tuple[int, int]]


def look(
    encoder: Encoder, texts: Sequence[str], spans: Sequence[Spans], private: Sequence[Spans] | None = None
) -> list[Seen]:
    """What ``encoder`` sees in each text, whose tokens stand at ``spans``; ``private``: the words it must not read."""
    pieces = encoder.pieces(texts)
    if private is not None:
        pieces = [encoder.blanked(one, words) for one, words in zip(pieces, private, strict=True)]
    read = encoder.read(pieces)
    whole = pooled(read, encoder.size) * EMBEDDING_SCALE
    return [
        Seen(vector, scaled(alignment(one, where) @ hidden), one.whole)
        for vector, hidden, one, where in zip(whole, read, pieces, spans, strict=True)
    ]


def alignment(pieces: Pieces, spans: Sequence[tuple[int, int]]) -> Floats:
    """(tokens, pieces): the mean over the pieces that share characters with each token."""
    matrix = np.zeros((len(spans), len(pieces.ids)), dtype=np.float32)
    token = 0
    for column, (start, end) in enumerate(pieces.offsets):
        while token < len(spans) and spans[token][1] <= start:
            token += 1
        row = token
        while row < len(spans) and spans[row][0] < end:
            matrix[row, column] = 1.0
            row += 1
    counts = matrix.sum(axis=1, keepdims=True)
    result: Floats = matrix / np.maximum(counts, 1.0)
    return result


def scaled(words: Floats) -> Floats:
    """Each row with the same length, rows of zeros as they are."""
    lengths = np.linalg.norm(words, axis=1, keepdims=True)
    result: Floats = words / np.maximum(lengths, np.float32(1e-9)) * TOKEN_SCALE
    return result
