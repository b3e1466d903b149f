"""Embeddings in dialects of providers: the texts of a request, and the answer in OpenAI's shape. Pure."""

from __future__ import annotations

import math
from typing import Any

from gateway.providers.translate_request import Reader

_MOST_ASKS, _BYTES_A_TOKEN = 128, 4
OPENAIS = frozenset({"model", "input", "dimensions", "encoding_format", "user"})
"""What a client of OpenAI's may say; anything else is meant for the provider."""


def portions(reader: Reader, most: int) -> list[dict[str, Any]]:
    """The requests that one becomes: no more than ``most`` texts in each. Raises AttemptFailed."""
    given = reader.body["input"]
    texts = [given] if isinstance(given, str) else list(given)
    if not all(isinstance(one, str) for one in texts):
        raise reader.refused("input", "Tokens cannot be embedded here, only texts.")
    if len(texts) > most * _MOST_ASKS:
        raise reader.refused("input", f"At most {most * _MOST_ASKS} texts are embedded by one request here.")
    return [{**reader.body, "input": texts[at : at + most]} for at in range(0, len(texts), most)]


def as_openai(vectors: list[Any], texts: list[Any], tokens: int, model: str) -> dict[str, Any]:
    """``tokens``: 0 where nobody tells them; they are estimated then, because nothing would be free. Raises ValueError
    unless there is a vector for each text."""
    if len(vectors) != len(texts) or not all(isinstance(one, list) for one in vectors):
        raise ValueError("an answer without a vector for each text")
    items = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(vectors)]
    used = tokens or _estimated(texts)
    return {"object": "list", "model": model, "data": items, "usage": {"prompt_tokens": used, "total_tokens": used}}


def of_length_one(vector: Any) -> list[float]:
    """Google shortens a vector by cutting it; OpenAI's always have the length 1. Raises ValueError."""
    try:
        length = math.sqrt(math.fsum(one * one for one in vector))
    except (TypeError, OverflowError):
        raise ValueError("an embedding with something else than numbers") from None
    return [one / length for one in vector] if length > 0 else list(vector)


def _estimated(texts: list[str]) -> int:
    return sum(max(1, len(text.encode("utf-8", "surrogatepass")) // _BYTES_A_TOKEN) for text in texts)
