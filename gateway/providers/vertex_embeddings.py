"""Embeddings of Vertex AI: OpenAI's request as ``:predict`` takes it, and its predictions in OpenAI's shape. Pure.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gateway.providers.translate_answer import count, dicts
from gateway.providers.translate_request import Reader

_MOST_TEXTS = 250
_ALONE = "gemini-embedding-"
"""Models of this name take one text at a time."""
_MOST_ASKS = 128
_OPENAIS = frozenset({"model", "input", "dimensions", "encoding_format", "user"})
_OF_A_TEXT = ("task_type", "title")
"""What Vertex says of each text; a client's ``extra_body``."""


def portions(reader: Reader, model: str) -> list[dict[str, Any]]:
    """The requests that one becomes: no more texts in each than the model takes. Raises AttemptFailed."""
    given = reader.body["input"]
    texts = [given] if isinstance(given, str) else list(given)
    if not all(isinstance(one, str) for one in texts):
        raise reader.refused("input", "Tokens cannot be embedded here, only texts.")
    most = 1 if model.startswith(_ALONE) else _MOST_TEXTS
    if len(texts) > most * _MOST_ASKS:
        raise reader.refused("input", f"At most {most * _MOST_ASKS} texts are embedded by one request here.")
    return [{**reader.body, "input": texts[at : at + most]} for at in range(0, len(texts), most)]


def request_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """A text that is too long is an error, as at OpenAI; Google would cut it in silence."""
    own = {name: body[name] for name in _OF_A_TEXT if body.get(name) is not None}
    parameters: dict[str, Any] = {"autoTruncate": False}
    if body.get("dimensions") is not None:
        parameters["outputDimensionality"] = body["dimensions"]
    wire = {"instances": [{"content": text, **own} for text in body["input"]], "parameters": parameters}
    known = _OPENAIS.union(_OF_A_TEXT)
    return {**{name: value for name, value in body.items() if name not in known}, **wire}


def answer_of(data: Mapping[str, Any], body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Raises ValueError for what is no answer to ``body``."""
    found = [one["embeddings"] for one in dicts(data.get("predictions")) if isinstance(one.get("embeddings"), dict)]
    if len(found) != len(body["input"]) or not all(isinstance(one.get("values"), list) for one in found):
        raise ValueError("an answer without a vector for each text")
    shortened = body.get("dimensions") is not None
    items = [
        {"object": "embedding", "index": at, "embedding": _of_length_one(one["values"]) if shortened else one["values"]}
        for at, one in enumerate(found)
    ]
    told = [one["statistics"] for one in found if isinstance(one.get("statistics"), dict)]
    tokens = sum(count(one.get("token_count")) for one in told)
    return {"object": "list", "model": model, "data": items, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def _of_length_one(vector: list[Any]) -> list[Any]:
    """Google shortens a vector by cutting it; OpenAI's always have the length 1. Raises ValueError."""
    try:
        length = math.sqrt(math.fsum(one * one for one in vector))
    except (TypeError, OverflowError):
        raise ValueError("an embedding with something else than numbers") from None
    return [one / length for one in vector] if length > 0 else vector
