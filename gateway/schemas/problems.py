"""What can be wrong with a schema, and with a value."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Why = Literal["hostile", "invalid", "unsupported", "strict"]
"""``hostile``: past a bound; ``invalid``: no JSON Schema; ``unsupported``: sound, but not enforceable here;
``strict``: against OpenAI's rules for ``strict: true``."""


class SchemaRefused(Exception):
    """``path`` is a JSON pointer into the schema, with a leading "#"."""

    def __init__(self, why: Why, path: str, message: str) -> None:
        super().__init__(message)
        self.why, self.path, self.message = why, path, message


class Fault(Struct, frozen=True):
    """One rule that a value breaks: where in the value, which keyword of the schema, and the rule in words. The
    value itself is never quoted."""

    at: str
    rule: str
    message: str

    def __str__(self) -> str:
        return f"at '{self.at or '/'}': {self.message} ({self.rule[:200]})"


def step(path: str, name: str | int) -> str:
    """One step further in a JSON pointer (RFC 6901)."""
    text = name.replace("~", "~0").replace("/", "~1") if isinstance(name, str) else str(name)
    return f"{path}/{text}"


def place(at: str, name: str | int) -> str:
    """:func:`step` inside a value, for people: a long name is cut, so that it is not copied for all that it holds."""
    return step(at, name[:60] if isinstance(name, str) else name)
