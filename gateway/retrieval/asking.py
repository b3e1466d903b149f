"""What a search is asked and finds, and who answers it. A leaf."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from gateway.context import Principal
from gateway.retrieval.filters import Fits
from gateway.storage.vector_stores import Attributes


class Asked(Struct, frozen=True):
    """``weights``: how much vectors and words count; ``least``: the lowest score that is wanted."""

    questions: tuple[str, ...]
    fits: Fits
    most: int = 10
    weights: tuple[float, float] = (1.0, 1.0)
    least: float = 0.0


class Found(Struct, frozen=True):
    """``score``: 0 to 1."""

    file_id: str
    filename: str
    attributes: Attributes
    text: str
    score: float


class Library(Protocol):
    """The vector stores of a caller's project."""

    async def unknown(self, who: Principal, store_ids: Sequence[str]) -> list[str]:
        """Those that are not the project's, whoever else's they may be. Raises Forbidden."""

    async def searchable(self, who: Principal, store_ids: Sequence[str]) -> None:
        """Raises NotFound for a store that is not the project's, BadRequest for one that has expired, Forbidden."""

    async def among(self, who: Principal, store_ids: Sequence[str], asked: Asked) -> list[Found]:
        """What all of them hold, the best first. Raises GatewayError."""
