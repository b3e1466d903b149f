"""What a request looks like (its eligibility fingerprint) and which input it belongs to (its group).

A student may answer only requests that look like those it was certified on. The fingerprint covers what a
prompt's author writes (system and developer text, tools, response schema, the shape of the turns, modality)
and leaves out what the end user writes.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from gateway.protocol.chat import ChatRequest, Message, text_of

_encode = msgspec.json.Encoder(order="deterministic").encode
_DIGITS = re.compile(r"\d+")
_SPACE = re.compile(r"\s+")
_AUTHOR_ROLES = frozenset({"system", "developer"})


def fingerprint(request: ChatRequest) -> str:
    """Sixteen hex digits that are equal exactly when two requests have the same author-written parts."""
    parts: list[object] = []
    for message in request.messages:
        if message.role in _AUTHOR_ROLES:
            parts.append([message.role, text_of(message)])
        else:
            parts.append([message.role, _modality(message)])
    material = _encode(
        [parts, request.tools, request.functions, request.tool_choice, request.response_format]
    )
    return hashlib.sha256(material).hexdigest()[:16]


def _modality(message: Message) -> str:
    """ "text" for plain text; otherwise the sorted part types, so an image never looks like a ticket."""
    content = message.content
    kinds = {str(part.get("type")) for part in content} if isinstance(content, list) else set()
    if message.tool_calls or message.role in {"tool", "function"}:
        return "+".join(["tool", *sorted(kinds - {"text"})])
    return "text" if kinds <= {"text"} else "+".join(sorted(kinds))


def group_of(text: str) -> str:
    """The group of an input: near-identical inputs (case, spacing, numbers) fall into one, so that no split
    separates them. Sixteen hex digits."""
    folded = _SPACE.sub(" ", _DIGITS.sub("0", text.casefold())).strip()
    return hashlib.sha256(folded.encode()).hexdigest()[:16]
