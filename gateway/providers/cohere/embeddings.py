"""Cohere's embed API, version 2: OpenAI's request as it takes it, and its answer in OpenAI's shape. Pure.

https://docs.cohere.com/reference/embed
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.providers.embedded_texts import OPENAIS, as_openai

MOST_TEXTS = 96
_FOR = "search_document"
"""``input_type``, which Cohere demands and OpenAI does not know: a client's ``extra_body`` may say another."""


def request_body(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A text that is too long is an error, as at OpenAI; Cohere would cut it in silence."""
    wire: dict[str, Any] = {"model": model, "texts": body["input"], "embedding_types": ["float"]}
    if body.get("dimensions") is not None:
        wire["output_dimension"] = body["dimensions"]
    own = {name: value for name, value in body.items() if name not in OPENAIS}
    return {"input_type": _FOR, "truncate": "NONE", **own, **wire}


def answer_of(data: Mapping[str, Any], body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Raises ValueError for what is no answer to ``body``."""
    found, meta = data.get("embeddings"), data.get("meta")
    vectors = found.get("float") if isinstance(found, dict) else None
    billed = meta.get("billed_units") if isinstance(meta, dict) else None
    tokens = billed.get("input_tokens") if isinstance(billed, dict) else 0
    counted = int(tokens) if isinstance(tokens, int | float) and tokens > 0 else 0
    return as_openai(vectors if isinstance(vectors, list) else [], body["input"], counted, model)
