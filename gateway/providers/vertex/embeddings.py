"""Embeddings of Vertex AI: OpenAI's request as ``:predict`` takes it, and its predictions in OpenAI's shape. Pure.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.protocol.lists import dicts
from gateway.providers.embedded_texts import OPENAIS, as_openai, of_length_one
from gateway.providers.translate_answer import count

_MOST_TEXTS = 250
_ALONE = "gemini-embedding-"
"""Models of this name take one text at a time."""
_OF_A_TEXT = ("task_type", "title")
"""What Vertex says of each text; a client's ``extra_body``."""


def most_texts(model: str) -> int:
    return 1 if model.startswith(_ALONE) else _MOST_TEXTS


def request_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """A text that is too long is an error, as at OpenAI; Google would cut it in silence."""
    own = {name: body[name] for name in _OF_A_TEXT if body.get(name) is not None}
    parameters: dict[str, Any] = {"autoTruncate": False}
    if body.get("dimensions") is not None:
        parameters["outputDimensionality"] = body["dimensions"]
    wire = {"instances": [{"content": text, **own} for text in body["input"]], "parameters": parameters}
    known = OPENAIS.union(_OF_A_TEXT)
    return {**{name: value for name, value in body.items() if name not in known}, **wire}


def answer_of(data: Mapping[str, Any], body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Raises ValueError for what is no answer to ``body``."""
    found = [one["embeddings"] for one in dicts(data.get("predictions")) if isinstance(one.get("embeddings"), dict)]
    vectors = [one.get("values") for one in found]
    if body.get("dimensions") is not None:
        vectors = [of_length_one(one) for one in vectors]
    told = [one["statistics"] for one in found if isinstance(one.get("statistics"), dict)]
    return as_openai(vectors, body["input"], sum(count(one.get("token_count")) for one in told), model)
