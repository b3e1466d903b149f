"""The built-in classifier engine: OpenAI's dialect over a unix socket, with the answer's probability in its
logprobs and the CPU time it took in a header."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gateway.catalog import Profile
from gateway.providers.openai.codec import OpenAICodec

CPU_HEADER = "x-understudy-cpu-ms"
ENGINE_HEADER = "x-understudy-engine"


class ClassifierProvider(Struct, frozen=True, tag="classifier", tag_field="type", forbid_unknown_fields=True):
    """``socket`` defaults to the engine that ``understudy up`` starts (in the data directory)."""

    socket: str = ""

    def build(self, name: str, engine_socket: str) -> OpenAICodec:
        headers = {"content-type": "application/json"}
        profile = Profile(structured="strict", json_mode="strict", strict_tools="strict")  # checked elsewhere
        url = "http://engine/v1/chat/completions"
        return OpenAICodec(name, url, headers, profile, socket=self.socket or engine_socket)


def confidence_of(answer: Mapping[str, Any]) -> float | None:
    """The probability of the answer: exp of the sum of its token log-probabilities; None when there are none."""
    try:
        tokens = answer["choices"][0]["logprobs"]["content"]
        total = math.fsum(float(token["logprob"]) for token in tokens)
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return min(1.0, math.exp(total)) if tokens and total <= 1e-6 else None
