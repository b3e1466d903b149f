"""The built-in classifier engine: OpenAI's dialect over a unix socket, plus its own CPU metering."""

from __future__ import annotations

from msgspec import Struct


class ClassifierProvider(Struct, frozen=True, tag="classifier", tag_field="type", forbid_unknown_fields=True):
    """``base_url`` defaults to the engine that ``understudy up`` starts (a socket in the data directory)."""

    base_url: str = ""
