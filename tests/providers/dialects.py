"""Wire fixtures written from the providers' public documentation, and ways to spoil a stream.

Every stream is a list of events; what a codec must make of it never depends on where the bytes were cut.
"""

from __future__ import annotations

import json
from typing import Any

from gateway.protocol.answer import Chunk
from gateway.protocol.assemble import assemble
from gateway.providers.codec import StreamDecoder

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Looks the weather up.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALLED = {
    "role": "assistant", "content": None,
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}},
        {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}},
    ],
}  # fmt: skip
ROUND = [
    {"role": "user", "content": "Bonn and Köln?"},
    CALLED,
    {"role": "tool", "tool_call_id": "call_1", "content": '{"sky": "blue"}'},
    {"role": "tool", "tool_call_id": "call_2", "content": "rain"},
]


def named(events: list[dict[str, Any]], newline: str = "\n") -> bytes:
    """Events as Anthropic and Cohere frame them: the type is the event's name too."""
    frames = (
        f"event: {one['type']}{newline}data: {json.dumps(one, ensure_ascii=False)}{newline}{newline}"
        for one in events
    )
    return "".join(frames).encode()


def plain(events: list[dict[str, Any]], newline: str = "\r\n") -> bytes:
    """Events as Google frames them: data only."""
    return "".join(
        f"data: {json.dumps(one, ensure_ascii=False)}{newline}{newline}" for one in events
    ).encode()


def spoiled(raw: bytes) -> dict[str, bytes]:
    """The same stream as other servers and proxies would write it."""
    text = raw.replace(b"\r\n", b"\n")
    lines = text.split(b"\n")
    return {
        "crlf": text.replace(b"\n", b"\r\n"),
        "cr": text.replace(b"\n", b"\r"),
        "bom": b"\xef\xbb\xbf" + raw,
        "comments": b": hello\n\n" + b"\n".join(b": keep-alive\n" + line if line else line for line in lines),
        "fields of others": b"retry: 10\nid: 7\n" + raw,
        "no space": text.replace(b"data: ", b"data:"),
        "data on several lines": text.replace(b"data: {", b"data: {\ndata: "),
    }


def read(decoder: StreamDecoder, pieces: list[bytes]) -> list[Chunk]:
    chunks = [chunk for piece in pieces for chunk in decoder.feed(piece)]
    return chunks + decoder.finish()


def told(chunks: list[Chunk]) -> dict[str, Any]:
    """What a stream amounts to, without its clock; checks the order that OpenAI's clients rely on."""
    data = [chunk.data for chunk in chunks]
    check_order(data)
    whole = assemble(data)
    whole.pop("created")
    return whole


def check_order(data: list[dict[str, Any]]) -> None:
    """A role first and a reason last, once for each choice; one usage chunk at the very end; each call's id,
    type and name once, on the first delta of its index."""
    assert all(one["object"] == "chat.completion.chunk" for one in data)
    assert len({one["id"] for one in data}) == 1
    *body, last = data
    assert last["choices"] == [] and last["usage"]
    assert all(one["choices"] and "usage" not in one for one in body)
    for index in {one["choices"][0]["index"] for one in body}:
        parts = [one["choices"][0] for one in body if one["choices"][0]["index"] == index]
        assert parts[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
        assert all("role" not in part["delta"] for part in parts[1:])
        assert [part["finish_reason"] for part in parts[:-1]] == [None] * (len(parts) - 1)
        assert parts[-1]["finish_reason"] and parts[-1]["delta"] == {}
        calls = [call for part in parts for call in part["delta"].get("tool_calls", [])]
        seen: set[int] = set()
        for call in calls:
            if call["index"] in seen:
                assert set(call) == {"index", "function"} and set(call["function"]) == {"arguments"}
            else:
                assert call["index"] == len(seen) and call["id"] and call["type"] == "function"
            seen.add(call["index"])
