"""Files that a candidate's provider does not take, as the text that they say."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from gateway import errors
from gateway.providers.codec import AttemptFailed, DocumentRefused
from gateway.providers.translate_request import type_of
from gateway.retrieval.enclosed_documents import EnclosedDocuments
from gateway.retrieval.reading import NotRead
from gateway.runtime import Runtime
from gateway.texts.enclosed import file_data, retold, words_in
from optimizer.routing.plan import Candidate


async def told_as_text(
    reader: EnclosedDocuments, runtime: Runtime, candidate: Candidate, body: Mapping[str, Any],
    refused: DocumentRefused, *, project: str, remaining: float,
) -> dict[str, Any]:  # fmt: skip
    """``body`` with the text of every file that ``candidate`` was ``refused`` for, or would be. One that says none is
    left out where the operator allows that. Raises AttemptFailed: ``refused``, with the reason."""
    until = time.monotonic() + remaining
    bounds = runtime.config.vector_stores
    drop = bool(getattr(runtime.config.providers.get(candidate.provider), "drop_params", False))
    told: dict[str, str | None] = {}
    for data, at in _not_taken(body, refused).items():
        text = words_in(data)
        if text is None:
            try:
                text = await reader.text(data, project, bounds, remaining=until - time.monotonic())
            except NotRead as problem:
                if not drop:
                    raise _at(at, refused, f" Nor can its text go in its place: {problem}") from None
        told[data] = text
    new = retold(body, told)
    emptied = any(message.get("content") == [] for message in new["messages"] if isinstance(message, dict))
    if emptied or not told:  # nothing would be left to be said
        raise _at(next(iter(_not_taken(body, refused).values()), refused.error.param or ""), refused)
    return new


def _not_taken(body: Mapping[str, Any], refused: DocumentRefused) -> dict[str, str]:
    """Each such file, by its content, with the place where it stands first."""
    found: dict[str, str] = {}
    for index, message in enumerate(body["messages"]):
        content = message.get("content") if isinstance(message, dict) else None
        for position, part in enumerate(content if isinstance(content, list) else ()):
            data = file_data(part)
            if data is not None and not refused.takes(type_of(data)):
                found.setdefault(data, f"messages[{index}].content[{position}].file")
    return found


def _at(place: str, refused: DocumentRefused, why: str = "") -> AttemptFailed:
    error = errors.CannotDo(f"{refused.error.message}{why}", param=place, code=refused.error.code)
    return AttemptFailed(refused.failure, error)
