"""An extractor student at work: texts in, JSON answers with a confidence out. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import Struct

from gateway.local_models.encoder import Encoder
from trainer.features.calls import CallLayout
from trainer.features.fields import of_spans
from trainer.features.layout import Layout
from trainer.features.tagging import columns_of, decode, limited, log_probabilities, token_terms, tokens
from trainer.features.terms import Floats, Vocabulary, features
from trainer.features.values import Spot
from trainer.features.vectors import Seen, look
from trainer.training.generative import Isotonic

Writes = Layout | CallLayout


@dataclass(frozen=True, slots=True)
class Closed:
    """The linear head of one label field: (features, labels), (labels,)."""

    coefficients: Floats
    bias: Floats
    temperature: float


@dataclass(frozen=True, slots=True)
class Extraction:
    """``heads`` follow the layout's label fields. ``terms`` are the tagger's features, ``tags`` its coefficients
    (terms, tags) and ``tag_bias`` (tags,). With an ``encoder`` the heads have its vector of the text behind their
    terms, and ``tag_vectors`` (size, tags) are the coefficients of each word's vector.

    ``calibration`` makes a probability of the logarithm that is the sum over fields and tokens; None: it is kept as it
    is, and ranks answers."""

    layout: Writes
    vocabulary: Vocabulary
    idf: Floats
    heads: tuple[Closed, ...]
    terms: dict[str, int]
    tags: Floats
    tag_bias: Floats
    encoder: Encoder | None = None
    tag_vectors: Floats | None = None
    calibration: Isotonic | None = None


class Read(Struct, frozen=True):
    """``log_sure``: logarithm of the whole object's probability, the sum over fields and tokens; ``whole``: whether
    nothing is known to be missing: the encoder, if there is one, saw all of the text, and every span has a value."""

    answer: str
    log_sure: float
    whole: bool
    fields: dict[str, float] = {}
    """How sure it is of each field (docs/students.md)."""


def extract(model: Extraction, texts: Sequence[str]) -> list[tuple[str, float]]:
    """(answer, confidence) of each text, see :func:`confidence`."""
    return [(one.answer, confidence(model, one)) for one in read(model, texts)]


def confidence(model: Extraction, one: Read) -> float:
    """How sure the student is of the whole answer. Without a calibration that is the product over fields and tokens: it
    ranks answers, and is smaller than the chance of agreement. The threshold is chosen on this very scale. Where
    something is known to be missing nothing is sure."""
    if not one.whole:
        return 0.0
    return float(np.exp(one.log_sure)) if model.calibration is None else model.calibration(one.log_sure)


def read(model: Extraction, texts: Sequence[str]) -> list[Read]:
    spans = [tokens(text) for text in texts]
    if model.encoder is None:
        return [_read(model, text, where, None) for text, where in zip(texts, spans, strict=True)]
    seen = look(model.encoder, texts, spans)
    return [_read(model, text, where, one) for text, where, one in zip(texts, spans, seen, strict=True)]


def _read(model: Extraction, text: str, spans: Sequence[tuple[int, int]], seen: Seen | None) -> Read:
    labels: dict[str, str] = {}
    fields: dict[str, float] = {}
    log_sure = 0.0
    closed = [field for field in model.layout.fields if field.kind == "label"]
    if closed:
        columns, weight = features(text, model.vocabulary, model.idf)
        for field, head in zip(closed, model.heads, strict=True):
            if not model.layout.concerns(field, labels):
                continue
            logits = (weight @ head.coefficients[columns] + head.bias).astype(np.float64)
            if seen is not None:
                logits += seen.text @ head.coefficients[model.vocabulary.size :]
            shifted = np.exp((logits - logits.max()) / head.temperature)
            best = int(shifted.argmax())
            labels[field.name] = field.labels[best]
            fields[model.layout.told(field.name)] = float(shifted[best] / shifted.sum())
            log_sure += float(np.log(shifted[best] / shifted.sum()))
    spots: list[Spot] = []
    if model.layout.tags and spans:
        rows = columns_of(token_terms(text, spans, model.layout.context(text, labels)), model.terms)
        words = None if seen is None or model.tag_vectors is None else seen.words @ model.tag_vectors
        scores = log_probabilities(rows, model.tags, model.tag_bias, words)
        wanted = model.layout.wanted(labels)
        spots, more = decode(spans, limited(scores, model.layout.tags, wanted), model.layout.tags)
        if model.layout.kind != "list":
            of = of_spans(spans, scores, spots, model.layout.tags)
            for tag in sorted(wanted):
                name = model.layout.tag_told(tag)
                fields[name] = fields.get(name, 1.0) * of[tag]
        log_sure += more
    whole = (seen is None or seen.whole) and model.layout.valued(text, spots, labels)
    return Read(model.layout.compose(text, spots, labels), log_sure, whole, fields)


# ---------------------------------------------------------------- on disk
def extraction_tensors(model: Extraction) -> dict[str, Floats]:
    """Its tensors by the names they have in an artifact."""
    found = {"idf": model.idf, "tags": model.tags, "tag_bias": model.tag_bias}
    if model.tag_vectors is not None:
        found["tag_vectors"] = model.tag_vectors
    for number, head in enumerate(model.heads):
        found[f"{number}.coefficients"], found[f"{number}.bias"] = head.coefficients, head.bias
        found[f"{number}.temperature"] = np.array([head.temperature], dtype=np.float32)
    return found


def extraction_shapes(layout: Writes, features: int, terms: int, size: int = 0) -> dict[str, tuple[int, ...]]:
    """``size``: of the encoder's vectors, 0 without one."""
    tags = 1 + 2 * len(layout.tags)
    found: dict[str, tuple[int, ...]] = {"idf": (features,), "tags": (terms, tags), "tag_bias": (tags,)}
    if size:
        found["tag_vectors"] = (size, tags)
    for number, field in enumerate(field for field in layout.fields if field.kind == "label"):
        labels = len(field.labels)
        found |= {
            f"{number}.coefficients": (features + size, labels),
            f"{number}.bias": (labels,),
            f"{number}.temperature": (1,),
        }
    return found


def extraction_of(
    layout: Writes, vocabulary: Vocabulary, terms: dict[str, int], tensors: dict[str, Floats],
    encoder: Encoder | None = None, calibration: Isotonic | None = None,
) -> Extraction:  # fmt: skip
    """The student those tensors make; their shapes were checked."""
    heads = tuple(
        Closed(tensors[f"{n}.coefficients"], tensors[f"{n}.bias"], float(tensors[f"{n}.temperature"][0]))
        for n in range(sum(field.kind == "label" for field in layout.fields))
    )
    return Extraction(
        layout, vocabulary, tensors["idf"], heads, terms, tensors["tags"], tensors["tag_bias"], encoder,
        tensors.get("tag_vectors"), calibration,
    )  # fmt: skip
