"""What the tests of files, batches and the smaller endpoints share: a gateway, its provider, its clients."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
from gateway_server import KEY, Gateway, gateway, write_policies
from scripted import Provider

FOREIGN = "a-key-of-another-project-01"
SETTINGS = f"""  - {{name: foreign, key: {FOREIGN}, project: elsewhere}}
surface:
  embeddings: first
  moderations: {{provider: first, model: omni-moderation-latest}}
  images: first
  audio: first
files: {{max_bytes: 3000000, project_bytes: 4000000}}
"""


def policies_at(tmp: Path, upstream: Provider, settings: str = SETTINGS, extra: str = "") -> Path:
    folder = write_policies(tmp / "policies", {"first": upstream.url}, extra)
    main = folder / "gateway.yaml"
    text = main.read_text().replace(
        f"keys: [{{name: tests, key: {KEY}, project: default}}]\n",
        f"keys:\n  - {{name: tests, key: {KEY}, project: default}}\n{settings}",
    )
    main.write_text(text)
    return folder


@asynccontextmanager
async def served(tmp: Path, upstream: Provider, settings: str = SETTINGS) -> AsyncIterator[Gateway]:
    async with gateway(tmp, policies_at(tmp, upstream, settings)) as made:
        yield made


def client_of(made: Gateway, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=made.base_url, api_key=key, max_retries=0)


def line(custom_id: str, url: str = "/v1/chat/completions", **more: Any) -> dict[str, Any]:
    body = {"model": "triage", "messages": [{"role": "user", "content": custom_id}]}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body, **more}


def jsonl(lines: list[Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in lines)
