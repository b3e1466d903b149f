"""Answers of OpenAI's Responses API made of given items, whole and as its documentation says that they are streamed."""

from __future__ import annotations

import json
from typing import Any

import openai
from openai.types.responses import Response
from scripted import Behaviour, Line
from sdk_types import strictly

USAGE = {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 10,
         "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 110}  # fmt: skip


def spoken(text: str, *annotations: dict[str, Any], id_: str = "msg_1") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}
    return {"id": id_, "type": "message", "status": "completed", "role": "assistant", "content": [part]}


def response(*items: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    return {"id": "resp_up", "object": "response", "created_at": 1, "status": status, "model": "gpt-4.1", "error": None,
            "incomplete_details": None, "output": list(items), "usage": USAGE, "service_tier": "default"}  # fmt: skip


def events(*items: dict[str, Any]) -> bytes:
    begun = {**response(status="in_progress"), "usage": None}
    told: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    for at, item in enumerate(items):
        told.append({"type": "response.output_item.added", "output_index": at, "item": {**item, "content": [], "output": None}})
        told += [{"output_index": at, "item_id": item["id"], **one} for one in _within(item)]
        told.append({"type": "response.output_item.done", "output_index": at, "item": item})
    told.append({"type": "response.completed", "response": response(*items)})
    return b"".join(
        f"event: {one['type']}\ndata: {json.dumps({**one, 'sequence_number': at}, ensure_ascii=False)}\n\n".encode()
        for at, one in enumerate(told)
    )


def _within(item: dict[str, Any]) -> list[dict[str, Any]]:
    kind = f"response.{item['type']}"
    if item["type"] != "message":
        return [{"type": f"{kind}.in_progress"}, {"type": f"{kind}.completed"}]
    part = item["content"][0]
    pieces = [part["text"][at : at + 5] for at in range(0, len(part["text"]), 5)]
    deltas = [{"type": "response.output_text.delta", "content_index": 0, "delta": one, "logprobs": []} for one in pieces]
    notes = [{"type": "response.output_text.annotation.added", "content_index": 0, "annotation_index": at, "annotation": one}
             for at, one in enumerate(part["annotations"])]  # fmt: skip
    return [*deltas, *notes, {"type": "response.output_text.done", "content_index": 0, "text": part["text"]}]


def answers(*items: dict[str, Any], piece: int = 7) -> Behaviour:
    """Answers as it is asked, whole or streamed."""

    async def behave(line: Line) -> None:
        if line.seen.body.get("stream"):
            await line.stream(events(*items), piece=piece)
        else:
            await line.answer(200, response(*items))

    return behave


async def asked(client: openai.AsyncOpenAI, ask: dict[str, Any], *, stream: bool) -> Any:
    """What the official client makes of the answer; a whole one is held to its types as well."""
    if stream:
        async with client.responses.stream(**ask) as told:
            return await told.get_final_response()
    raw = await client.responses.with_raw_response.create(**ask)
    strictly(Response, raw.text, beyond=frozenset({"store"}))
    return raw.parse()
