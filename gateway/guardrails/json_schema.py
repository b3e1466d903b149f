"""Answers that must be JSON of a given shape, whatever the client asked for."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import msgspec

from gateway.guardrails.guardrail import WHOLE, Guardrail, Place
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, WAIT, Direction, Verdict
from gateway.schemas.compile import Validator, compiled
from gateway.schemas.problems import SchemaRefused


class JsonSchema(Guardrail, frozen=True, tag="json_schema", tag_field="type"):
    """``schema``: a JSON Schema. Without ``directions`` the answer's text is judged, and nothing else; an answer that
    only calls tools has none. A streamed answer is judged at its end, and none of it goes out before."""

    schema: dict[str, Any]
    action: Literal["block", "flag"] = "block"

    def __post_init__(self) -> None:
        try:
            _validator(msgspec.json.encode(self.schema))
        except SchemaRefused as refused:
            raise ValueError(f"'schema' is refused at {refused.path}: {refused.message}.") from None

    def reads(self, place: Place) -> bool:
        return place in (self.directions or ("output",))

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        """Raises TooCostly for a text that takes too long to check against the schema."""
        if not final:
            return WAIT
        if not text.strip():
            return ALLOW
        return ALLOW if self._fits(text) else (BLOCK if self.action == "block" else FLAG)

    def _fits(self, text: str) -> bool:
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            return False
        return not _validator(msgspec.json.encode(self.schema)).faults(value, len(text))

    @property
    def reads_names(self) -> bool:
        return False

    @property
    def reads_escapes(self) -> bool:
        """It is JSON itself that is judged."""
        return False

    @property
    def reach(self) -> int:
        """An answer is judged as a whole."""
        return WHOLE


@lru_cache(maxsize=64)
def _validator(schema: bytes) -> Validator:
    return compiled(msgspec.json.decode(schema))
