"""Thoughts of one provider in the places that another API has for thoughts, so that they find their way back.

A provider that signs its thoughts wants them back with the round of tools that they led to, and nobody else may be
sent them. What an API has no field for therefore travels as thoughts that nobody reads, under a name:

- OpenAI's encrypted reasoning as a signature ``openai:ID:SECRET`` (written by its codec), and what Azure encrypted,
  where the keys are others, as ``azure:ID:SECRET``, and xAI as ``xai:ID:SECRET``;
- the signature that Gemini puts on a call as redacted thoughts ``google:SIGNATURE:CALL ID`` before that call;
- thoughts of Claude and OpenAI as Gemini's ``thoughtSignature``, which has to be base64 there.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

OPENAI, AZURE, XAI, GOOGLE = "openai:", "azure:", "xai:", "google:"
_SIGNED, _REDACTED = "understudy:signed:", "understudy:redacted:"


def of_call(call_id: str, signature: str) -> str:
    """What stands in redacted thoughts for the signature on a call."""
    return f"{GOOGLE}{signature}:{call_id}"


def call_signatures(message: Mapping[str, Any]) -> dict[str, str]:
    """Gemini's signatures among a turn's thoughts, by the id of the call that each belongs to."""
    found: dict[str, str] = {}
    for block in message.get("thinking_blocks") or ():
        data = block.get("data") if isinstance(block, dict) else None
        if isinstance(data, str) and data.startswith(GOOGLE):
            signature, _, call_id = data.removeprefix(GOOGLE).partition(":")
            found[call_id] = signature
    return found


def of_claude(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The thoughts of a turn that Claude signed: it refuses those of others, and those that nobody signed."""
    return [
        {name: value for name, value in block.items() if name != "index"}  # by which a stream is put together
        for block in message.get("thinking_blocks") or ()
        if isinstance(block, dict) and _is_claudes(block)
    ]


def _is_claudes(block: Mapping[str, Any]) -> bool:
    seal = block.get({"thinking": "signature", "redacted_thinking": "data"}.get(str(block.get("type")), ""))
    return isinstance(seal, str) and bool(seal) and not seal.startswith((OPENAI, AZURE, XAI, GOOGLE))


def to_gemini(seal: str, *, redacted: bool) -> str:
    """A seal of thoughts as a ``thoughtSignature``."""
    return base64.b64encode(((_REDACTED if redacted else _SIGNED) + seal).encode()).decode()


def from_gemini(signature: str, thought: str) -> dict[str, Any] | None:
    """The thoughts that :func:`to_gemini` sealed, ``thought`` being their text; None when Gemini did it."""
    try:
        told = base64.b64decode(signature, altchars=b"-_").decode()
    except (binascii.Error, ValueError):
        return None
    if told.startswith(_SIGNED):
        return {"type": "thinking", "thinking": thought, "signature": told.removeprefix(_SIGNED)}
    if told.startswith(_REDACTED):
        return {"type": "redacted_thinking", "data": told.removeprefix(_REDACTED)}
    return None
