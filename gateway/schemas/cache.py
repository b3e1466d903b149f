"""Compiled schemas by their bytes, the refused ones too: what a client sends again and again is read once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import msgspec

from gateway.schemas.compile import Validator, compiled
from gateway.schemas.problems import SchemaRefused
from gateway.schemas.strict import check_strict

MAX_BYTES = 256 * 1024
_MOST_ENTRIES, _MOST_WEIGHT = 1024, 32 * 1024 * 1024
_encode = msgspec.json.encode


class Schemas:
    """Bounded in entries and bytes; the one that was not asked for longest goes first."""

    def __init__(self, entries: int = _MOST_ENTRIES, weight: int = _MOST_WEIGHT) -> None:
        self._entries, self._weight = entries, weight
        self._found: OrderedDict[tuple[bool, bytes], Validator | SchemaRefused] = OrderedDict()
        self._held = 0
        self._counts = {"compiled": 0, "hits": 0, "refused": 0, "evicted": 0}

    def of(self, schema: Any, *, strict: bool) -> Validator:
        """The compiled schema, which also keeps OpenAI's strict rules when ``strict``. Raises SchemaRefused."""
        try:
            data = _encode(schema)
        except RecursionError:
            raise SchemaRefused("hostile", "#", "is nested too deeply") from None
        if len(data) > MAX_BYTES:
            raise SchemaRefused("hostile", "#", f"a schema may have {MAX_BYTES} bytes")
        key = (strict, hashlib.blake2b(data, digest_size=16).digest())
        found = self._found.get(key)
        if found is None:
            found = self._keep(key, self._made(schema, strict))
        else:
            self._counts["hits"] += 1
            self._found.move_to_end(key)
        if isinstance(found, SchemaRefused):
            raise SchemaRefused(found.why, found.path, found.message)
        return found

    def counts(self) -> dict[str, int]:
        """Since the start, and what is held now."""
        return {**self._counts, "entries": len(self._found), "bytes": self._held}

    def _made(self, schema: Any, strict: bool) -> Validator | SchemaRefused:
        try:
            validator = compiled(schema)
            if strict:
                check_strict(schema)
        except SchemaRefused as refused:
            self._counts["refused"] += 1
            return SchemaRefused(refused.why, refused.path[:500], refused.message)
        self._counts["compiled"] += 1
        return validator

    def _keep(self, key: tuple[bool, bytes], made: Validator | SchemaRefused) -> Validator | SchemaRefused:
        if _weight(made) > self._weight:
            return made
        self._found[key] = made
        self._held += _weight(made)
        while len(self._found) > self._entries or self._held > self._weight:
            _, gone = self._found.popitem(last=False)
            self._held -= _weight(gone)
            self._counts["evicted"] += 1
        return made


def _weight(made: Validator | SchemaRefused) -> int:
    return made.weight if isinstance(made, Validator) else 2000
