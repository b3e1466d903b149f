"""A classifier student at work: texts in, probabilities of its answers out. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trainer.artifact import Parameters
from trainer.features import EMBEDDING_SCALE, features


def probabilities(parameters: Parameters, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Calibrated probabilities, shape (texts, answers); every row sums to one. About 0.2 ms a short text, some ten
    milliseconds more with an encoder."""
    logits = np.empty((len(texts), len(parameters.bias)), dtype=np.float64)
    for row, text in enumerate(texts):
        columns, weight = features(text, parameters.vocabulary, parameters.idf)
        logits[row] = weight @ parameters.coefficients[columns] + parameters.bias
    if parameters.encoder is not None:
        dense = parameters.encoder.embed(texts) * EMBEDDING_SCALE
        logits += dense @ parameters.coefficients[parameters.vocabulary.size :]
    logits /= parameters.temperature
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: npt.NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return result
