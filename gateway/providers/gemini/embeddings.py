"""Embeddings of the Gemini API: OpenAI's request as ``:batchEmbedContents`` takes it, and its answer in OpenAI's shape.
Pure.

https://ai.google.dev/api/embeddings
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.protocol.lists import dicts
from gateway.providers.embedded_texts import OPENAIS, as_openai, of_length_one
from gateway.providers.translate_answer import count

MOST_TEXTS = 100
_OF_A_TEXT = {"taskType": "taskType", "task_type": "taskType", "title": "title"}
"""What Gemini says of each text; a client's ``extra_body``."""


def request_body(body: Mapping[str, Any], path: str) -> dict[str, Any]:
    """``path``: the model, as it stands in the address."""
    own = {wire: body[name] for name, wire in _OF_A_TEXT.items() if body.get(name) is not None}
    if body.get("dimensions") is not None:
        own["outputDimensionality"] = body["dimensions"]
    texts = [{"model": f"models/{path}", "content": {"parts": [{"text": text}]}, **own} for text in body["input"]]
    known = OPENAIS.union(_OF_A_TEXT)
    return {**{name: value for name, value in body.items() if name not in known}, "requests": texts}


def answer_of(data: Mapping[str, Any], body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Raises ValueError for what is no answer to ``body``. Not every model tells its tokens."""
    vectors = [one.get("values") for one in dicts(data.get("embeddings"))]
    if body.get("dimensions") is not None:
        vectors = [of_length_one(one) for one in vectors]
    usage = data.get("usageMetadata")
    told = count(usage.get("promptTokenCount")) if isinstance(usage, dict) else 0
    return as_openai(vectors, body["input"], told, model)
