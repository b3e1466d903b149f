"""Pieces of a response that chat writes otherwise. Pure."""

from __future__ import annotations

from typing import Any

import msgspec


def part_of(kind: str, text: str) -> dict[str, Any]:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def one_result(side: Any) -> Any:
    results = side.get("results") if isinstance(side, dict) else None
    return results[0] if isinstance(results, list) and results else side


def note_of(note: dict[str, Any], base: int) -> dict[str, Any]:
    """Chat keeps a citation's fields one level deeper, and counts from the beginning of the answer: here a message
    counts by itself, and ``base`` characters stood before it."""
    kind = str(note.get("type", ""))
    inner = note.get(kind)
    found = {"type": kind, **inner} if isinstance(inner, dict) else note
    names = [one for one in ("start_index", "end_index") if base and isinstance(found.get(one), int)]
    return found | {one: max(0, found[one] - base) for one in names}


def asked_for(arguments: str) -> Any:
    """Arguments as the value that they are; what is no JSON stays text."""
    try:
        return msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        return arguments


def likely(logprobs: list[Any]) -> list[Any]:
    """Log-probabilities as the text's events have them: without the bytes that the finished part tells."""
    return [
        _unbytes({**one, "top_logprobs": [_unbytes(other) for other in one.get("top_logprobs") or ()]})
        for one in logprobs
    ]


def _unbytes(one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name != "bytes"}


def broken_off(item: dict[str, Any], kind: str | None, text: str) -> dict[str, Any]:
    """The last item of an answer that broke off, with what had been said of the block that was open (its ``kind``)."""
    if kind == "reasoning" and item["type"] == kind:
        return {**item, "summary": [{"type": "summary_text", "text": text}]}
    if item.get("status") != "in_progress":
        return item  # the block has no item yet
    if kind in ("text", "refusal") and item["type"] == "message":
        *before, part = item["content"]
        return {**item, "content": [*before, {**part, kind: text}]}
    if kind == "call" and item["type"] == "function_call":
        return {**item, "arguments": text}
    return {**item, "input": text} if kind == "call" and item["type"] == "custom_tool_call" else item
