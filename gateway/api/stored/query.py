"""What a client asks of the list of stored completions, and the order that the list has."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from gateway import errors
from gateway.storage.values import StoredCompletion

_METADATA_QUERY = re.compile(r"metadata\[(.+)\]")


Place = tuple[float, str]
"""Of an item in the list: when it was created, and its id."""


class Query(msgspec.Struct, frozen=True):
    """The list parameters of OpenAI's collections."""

    model: str | None
    metadata: dict[str, str]
    after: str | None
    limit: int
    descending: bool

    @classmethod
    def read(cls, pairs: Sequence[tuple[str, str]]) -> Query:
        """Raises BadRequest for a value out of range."""
        values = dict(pairs)
        metadata = {}
        for name, value in pairs:
            found = _METADATA_QUERY.fullmatch(name)
            if found is not None:
                metadata[found.group(1)] = value
        limit = values.get("limit", "20")
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:6]) <= 100:
            raise errors.BadRequest("'limit' must be a whole number from 1 to 100.", param="limit")
        order = values.get("order", "asc")
        if order not in {"asc", "desc"}:
            raise errors.BadRequest("'order' must be 'asc' or 'desc'.", param="order")
        return cls(
            model=values.get("model"),
            metadata=metadata,
            after=values.get("after"),
            limit=int(limit),
            descending=order == "desc",
        )

    def wants(self, one: StoredCompletion) -> bool:
        matches = all(one.metadata.get(name) == value for name, value in self.metadata.items())
        return matches and self.model in {None, one.model}

    def follows(self, one: StoredCompletion, after: Place) -> bool:
        return place(one) < after if self.descending else place(one) > after


def place(one: StoredCompletion) -> Place:
    return one.created_at, one.id
