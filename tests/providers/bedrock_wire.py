"""How Bedrock's messages look on the wire, for the tests of its codec."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

from gateway.providers import BedrockProvider
from gateway.providers.bedrock.provider import BedrockCodec

HI = [{"role": "user", "content": "hi"}]


def codec(**options: Any) -> BedrockCodec:
    made = BedrockProvider(region="eu-central-1", access_key_id="AKID", secret_access_key="hidden", **options)
    return BedrockCodec("aws", made, clock=lambda: 1_440_938_160.0)


def wire(body: dict[str, Any], model: str = "amazon.nova-pro-v1:0", **options: Any) -> dict[str, Any]:
    return json.loads(codec(**options).encode({"messages": HI, **body}, model, stream=False).body)


def message(payload: Any, **headers: str) -> bytes:
    """One message as AWS frames it, with a header of another type among the texts."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()
    head = b"\x01n\x04\x00\x00\x00\x07" + b"".join(
        bytes([len(name) + 1])
        + b":"
        + name.replace("_", "-").encode()
        + b"\x07"
        + struct.pack(">H", len(value))
        + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(head) + len(raw), len(head))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + raw
    return body + struct.pack(">I", zlib.crc32(body))


def event(kind: str, **payload: Any) -> bytes:
    return message(
        {**payload, "p": "abc"}, event_type=kind, content_type="application/json", message_type="event"
    )


def delta(index: int, **piece: Any) -> bytes:
    return event("contentBlockDelta", contentBlockIndex=index, delta=piece)


def used(index: int, id_: str, name: str) -> bytes:
    return event(
        "contentBlockStart", contentBlockIndex=index, start={"toolUse": {"toolUseId": id_, "name": name}}
    )
