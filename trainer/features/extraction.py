"""An extractor student at work: texts in, JSON answers with a confidence out. Needs numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.features.layout import Layout, Spot
from trainer.features.tagging import columns_of, decode, log_probabilities, token_terms, tokens
from trainer.features.terms import Floats, Vocabulary, features


@dataclass(frozen=True, slots=True)
class Closed:
    """The linear head of one label field: (features, labels), (labels,)."""

    coefficients: Floats
    bias: Floats
    temperature: float


@dataclass(frozen=True, slots=True)
class Extraction:
    """``heads`` follow the layout's label fields. ``terms`` are the tagger's features, ``tags`` its coefficients
    (terms, tags) and ``tag_bias`` (tags,)."""

    layout: Layout
    vocabulary: Vocabulary
    idf: Floats
    heads: tuple[Closed, ...]
    terms: dict[str, int]
    tags: Floats
    tag_bias: Floats


def extract(model: Extraction, text: str) -> tuple[str, float]:
    """The answer, and how sure all of it is: the product over fields and tokens. It ranks answers; being a product of
    many, it is smaller than the chance of agreement. The threshold is chosen on this very scale."""
    labels, log_sure = {}, 0.0
    closed = [field for field in model.layout.fields if field.kind == "label"]
    if closed:
        columns, weight = features(text, model.vocabulary, model.idf)
        for field, head in zip(closed, model.heads, strict=True):
            logits = (weight @ head.coefficients[columns] + head.bias).astype(np.float64) / head.temperature
            shifted = np.exp(logits - logits.max())
            best = int(shifted.argmax())
            labels[field.name] = field.labels[best]
            log_sure += float(np.log(shifted[best] / shifted.sum()))
    spans = tokens(text)
    spots: list[Spot] = []
    if model.layout.tags and spans:
        rows = columns_of(token_terms(text, spans), model.terms)
        spots, more = decode(spans, log_probabilities(rows, model.tags, model.tag_bias), model.layout.tags)
        log_sure += more
    return model.layout.compose(text, spots, labels), float(np.exp(log_sure))


# ---------------------------------------------------------------- on disk
def extraction_tensors(model: Extraction) -> dict[str, Floats]:
    """Its tensors by the names they have in an artifact."""
    found = {"idf": model.idf, "tags": model.tags, "tag_bias": model.tag_bias}
    for number, head in enumerate(model.heads):
        found[f"{number}.coefficients"], found[f"{number}.bias"] = head.coefficients, head.bias
        found[f"{number}.temperature"] = np.array([head.temperature], dtype=np.float32)
    return found


def extraction_shapes(layout: Layout, features: int, terms: int) -> dict[str, tuple[int, ...]]:
    tags = 1 + 2 * len(layout.tags)
    found: dict[str, tuple[int, ...]] = {"idf": (features,), "tags": (terms, tags), "tag_bias": (tags,)}
    for number, field in enumerate(field for field in layout.fields if field.kind == "label"):
        labels = len(field.labels)
        found |= {
            f"{number}.coefficients": (features, labels),
            f"{number}.bias": (labels,),
            f"{number}.temperature": (1,),
        }
    return found


def extraction_of(
    layout: Layout, vocabulary: Vocabulary, terms: dict[str, int], tensors: dict[str, Floats]
) -> Extraction:
    """The student those tensors make; their shapes were checked."""
    heads = tuple(
        Closed(tensors[f"{n}.coefficients"], tensors[f"{n}.bias"], float(tensors[f"{n}.temperature"][0]))
        for n in range(sum(field.kind == "label" for field in layout.fields))
    )
    return Extraction(layout, vocabulary, tensors["idf"], heads, terms, tensors["tags"], tensors["tag_bias"])
