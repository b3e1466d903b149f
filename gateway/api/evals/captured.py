"""Rows of a run that the gateway holds itself: stored responses, and the held-out part of a captured dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway import errors
from gateway.api.evals.shapes import Content, ResponseRows
from gateway.client_data.client_state import ResponseState
from gateway.protocol.responses.items import chat_messages
from gateway.storage.protocols import Reader

MOST_READ = 10_000
"""Stored responses of a project that are looked through, the newest ones."""
Opens = Callable[[bytes], ResponseState | None]
"""What opens a stored response; None for what was deleted or sealed by another installation."""


class _DatasetRow(Struct, frozen=True):
    call: str
    part: str
    text: str
    answer: str
    erased: str | None = None


def dataset_rows(
    reader: Reader, datasets: Path, project: str, task: str, version: int
) -> Iterator[Content]:
    """The calls of a dataset that no student learns from, with the teacher's answers, masked as they are stored. Raises
    FileNotFoundError, for another project's dataset too."""
    found = next((one for one in reader.datasets(task=task) if (one.project, one.version) == (project, version)), None)
    if found is None:
        raise FileNotFoundError(task)
    decode = msgspec.json.Decoder(_DatasetRow).decode
    with (datasets / found.digest / "rows.jsonl").open("rb") as lines:
        for row in map(decode, lines):
            if row.part == "holdout" and row.erased is None:
                item = {
                    "id": row.call, "input": [{"role": "user", "content": row.text}], "text": row.text,
                    "output_text": row.answer, "metadata": {},
                }  # fmt: skip
                yield Content(item, {"output_text": row.answer})


def response_rows(
    rows: ResponseRows, project: str, wanted: dict[str, str], reader: Reader, opens: Opens, now: float
) -> Iterator[tuple[Content, str | None]]:
    """Stored responses, newest first, each with all that it continues; one that cannot be shown whole is left out."""
    sealed = reader.client_states(project, "response", now=now, limit=MOST_READ)
    states = [state for one in sealed if (state := opens(one)) is not None and state.project == project]
    by_id = {state.id: state for state in states}
    entries = wanted | (rows.metadata or {})
    for state in states:
        if state.response.get("status") == "completed" and _fits(state.response, rows, entries):
            content = _content(state, by_id)
            if content is not None:
                yield content, state.owner or None


def _fits(said: dict[str, Any], rows: ResponseRows, metadata: dict[str, str]) -> bool:
    """Whether a response is one of those that are asked for."""
    at = float(said.get("created_at") or 0.0)
    names = [tool.get("name") or tool.get("type") for tool in said.get("tools") or ()]
    asked = said.get("instructions")
    return (
        (rows.created_after or 0) <= at <= (rows.created_before or 2**62)
        and (rows.instructions_search or "") in (asked if isinstance(asked, str) else "")
        and metadata.items() <= (said.get("metadata") or {}).items()
        and rows.model in (None, said.get("model"))
        and rows.temperature in (None, said.get("temperature"))
        and rows.top_p in (None, said.get("top_p"))
        and rows.reasoning_effort in (None, (said.get("reasoning") or {}).get("effort"))
        and (not rows.users or said.get("user") in rows.users or said.get("safety_identifier") in rows.users)
        and set(rows.tools or ()) <= set(names)
    )


def _content(state: ResponseState, by_id: dict[str, ResponseState]) -> Content | None:
    earlier: list[dict[str, Any]] = []
    before, seen = state.previous, {state.id}
    while before:
        one = by_id.get(before)
        if one is None or before in seen:
            return None
        seen.add(before)
        earlier = [*one.input, *one.response.get("output", ()), *earlier]
        before = one.previous
    said = state.response
    instructions = said.get("instructions")
    try:
        turns = chat_messages(instructions if isinstance(instructions, str) else None, earlier, state.input)
    except errors.BadRequest:
        return None
    answer = "".join(
        part.get("text", "")
        for item in said.get("output", ()) if item.get("type") == "message"
        for part in item.get("content", ()) if part.get("type") == "output_text"
    )  # fmt: skip
    item = {
        "id": state.id, "input": turns, "output_text": answer, "model": said.get("model") or "",
        "metadata": said.get("metadata") or {},
    }  # fmt: skip
    return Content(item, {"output_text": answer})
