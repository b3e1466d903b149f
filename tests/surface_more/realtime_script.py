"""A scripted realtime provider under guardrails, and how tests talk to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway_server import Gateway
from test_realtime import USAGE, Upstream, at, house
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection

Event = dict[str, Any]
WORDS = "guardrails: {words: {type: blocklist, phrases: [project falcon]}}\n"
REWRITE = "guardrails: {words: {type: blocklist, phrases: [project falcon], action: rewrite, replacement: '[internal]'}}\n"
PII = "guardrails: {personal: {type: pii}}\n"
SOUND = "unjudged_sound: allow\n"
BYTES = "UklGRg" + "A" * 400
ADDRESS = "jane@example.org"
TEXT = {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}
CREATE = {"type": "response.create", "event_id": "mine", "response": {"output_modalities": ["text"]}}


class Script:
    """A provider that says what it is told to whenever a response is asked for, and keeps what it hears."""

    def __init__(self, upstream: Upstream, *says: Event) -> None:
        self.heard: list[Event] = []
        self.says: list[Event] = list(says)
        self.queue: asyncio.Queue[Event] = asyncio.Queue()
        upstream.behave = self.behave

    async def behave(self, connection: ServerConnection) -> None:
        modalities = {"type": "realtime", "output_modalities": ["audio"]}
        await connection.send(json.dumps({"type": "session.created", "event_id": "e0", "session": modalities}))
        async for message in connection:
            event = json.loads(message)
            self.heard.append(event)
            self.queue.put_nowait(event)
            for answer in self.answers(event):
                await connection.send(json.dumps(answer))

    def answers(self, event: Event) -> Iterator[Event]:
        kind = event["type"]
        if kind == "response.create":
            yield from self.says
        elif kind == "session.update":
            yield {"type": "session.updated", "event_id": "e1", "session": event["session"]}
        elif kind == "conversation.item.create":
            item = {"id": "item_given", **event["item"]}
            yield {"type": "conversation.item.added", "event_id": "e2", "previous_item_id": None, "item": item}
        elif kind == "response.cancel":
            yield done("cancelled", event["response_id"])
        elif kind == "conversation.item.delete":
            yield {"type": "conversation.item.deleted", "event_id": "e3", "item_id": event["item_id"]}


def spoken(*pieces: str, kind: str = "response.output_text", response: str = "r", item: str = "i") -> list[Event]:
    """A response whose text comes in ``pieces``, as GA tells it."""
    ids = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
    field = {"transcript": "transcript", "arguments": "arguments"}.get(kind.rsplit("_", 1)[-1], "text")
    whole = "".join(pieces)
    if field == "arguments":
        made: Event = {"type": "function_call", "name": "look_up", "call_id": "c", "arguments": whole}
    else:
        part = {"type": "output_text" if field == "text" else "output_audio", field: whole}
        made = {"type": "message", "role": "assistant", "content": [part]}
    made = {"id": item, "object": "realtime.item", "status": "completed", **made}
    return [
        {"type": "response.created", "event_id": "e4", "response": {"id": response, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "response_id": response, "output_index": 0,
         "item": {"id": item, "type": made["type"], "status": "in_progress"}},
        *({"type": f"{kind}.delta", "event_id": "e5", **ids, "delta": piece} for piece in pieces),
        {"type": f"{kind}.done", "event_id": "e6", **ids, field: whole},
        {"type": "response.output_item.done", "event_id": "e7", "response_id": response, "output_index": 0, "item": made},
        {"type": "conversation.item.done", "event_id": "e8", "previous_item_id": None, "item": made},
        done("completed", response, made),
    ]  # fmt: skip


def done(status: str, response: str = "r", *output: Event) -> Event:
    return {"type": "response.done", "event_id": "e9", "response": {
        "id": response, "object": "realtime.response", "status": status, "output": list(output), "usage": USAGE,
    }}  # fmt: skip


def item(text: str, role: str = "user", kind: str = "input_text") -> Event:
    message = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
    return {"type": "conversation.item.create", "event_id": "mine", "item": message}


@asynccontextmanager
async def session(tmp: Path, upstream: Upstream, extra: str) -> AsyncIterator[tuple[ClientConnection, Gateway]]:
    async with house(tmp, upstream, extra) as served, at(served) as connection:
        assert (await said(connection))["type"] == "session.created"
        yield connection, served


async def say(connection: ClientConnection, event: Event) -> None:
    await connection.send(json.dumps(event))


async def said(connection: ClientConnection) -> Event:
    event: Event = json.loads(await asyncio.wait_for(connection.recv(), 60))
    return event


async def until(connection: ClientConnection, kind: str) -> list[Event]:
    """What comes up to the first event of a kind."""
    found = [await said(connection)]
    while found[-1].get("type") != kind:
        found.append(await said(connection))
    return found


def of(events: list[Event], kind: str) -> list[Event]:
    return [one for one in events if one["type"] == kind]


def deltas(events: list[Event]) -> str:
    return "".join(one["delta"] for one in events if one["type"].endswith(".delta"))


def heard_say(*pieces: str, item: str = "u") -> list[Event]:
    """What a provider understood of a user's speech."""
    kind, ids = "conversation.item.input_audio_transcription", {"item_id": item, "content_index": 0}
    return [
        *({"type": f"{kind}.delta", "event_id": "e1", **ids, "delta": piece} for piece in pieces),
        {"type": f"{kind}.completed", "event_id": "e2", **ids, "transcript": "".join(pieces)},
    ]
