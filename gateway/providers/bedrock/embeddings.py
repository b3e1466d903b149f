"""Embeddings of models at Bedrock (InvokeModel): OpenAI's request as Amazon's Titan and Cohere's models take it there,
and their answers in OpenAI's shape. Pure.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from gateway.providers.cohere import embeddings as cohere_embeddings
from gateway.providers.embedded_texts import OPENAIS, as_openai
from gateway.providers.translate_answer import count
from gateway.providers.translate_request import Reader

Maker = Literal["titan", "cohere"]
_MAKERS: dict[str, Maker] = {"amazon.titan-embed-text-": "titan", "cohere.embed-": "cohere"}
"""By a part of a model's id: a profile's has a region before it, an ARN more."""


def maker_of(reader: Reader, model: str) -> Maker:
    """Raises AttemptFailed for a model that embeds no texts, or nobody knows how."""
    for part, maker in _MAKERS.items():
        if part in model:
            return maker
    problem = f"'{model[:80]}' is none of the models whose embeddings are had here: Titan's and Cohere's of texts."
    raise reader.refused("model", problem)


def most_texts(maker: Maker) -> int:
    return 1 if maker == "titan" else cohere_embeddings.MOST_TEXTS


def request_body(body: Mapping[str, Any], maker: Maker) -> dict[str, Any]:
    if maker == "cohere":
        wire = cohere_embeddings.request_body(body, "")
        del wire["model"]
        return wire
    own = {name: value for name, value in body.items() if name not in OPENAIS}
    size = {"dimensions": body["dimensions"]} if body.get("dimensions") is not None else {}
    return {**own, **size, "inputText": body["input"][0]}


def answer_of(data: Mapping[str, Any], body: Mapping[str, Any], model: str, maker: Maker) -> dict[str, Any]:
    """Raises ValueError for what is no answer to ``body``. Cohere's models tell no tokens here."""
    texts: list[str] = body["input"]
    if maker == "titan":
        return as_openai([data.get("embedding")], texts, count(data.get("inputTextTokenCount")), model)
    found = data.get("embeddings")
    vectors = found.get("float") if isinstance(found, dict) else found
    return as_openai(vectors if isinstance(vectors, list) else [], texts, 0, model)
