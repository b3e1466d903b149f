"""What a call took goes with it: were anything of it in a cycle, it would wait for the collector, whose work stops all
calls, and each call would begin in memory that no cache holds."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from scripted import CHUNKS, COMPLETION, Line, provider, sse

TURN = [{"role": "user", "content": "hi"}]
GUARDED = "  - {name: guarded, candidates: [{provider: first, model: m}], capture: {rate: 1.0}}\n"
SAFETY = "guardrails:\n  words: {type: blocklist, phrases: [falcon], tasks: [guarded]}\n"
CALLS, SOME = 40, 8
ONE_CALL = {"LaneCycle", "Exchange", "ChatRequest", "_Call", "Pulse", "ChatRendering", "Connection", "Reply"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Gateway]:
    async def answering(line: Line) -> None:
        if line.seen.body.get("stream"):
            await line.stream(sse(CHUNKS))
        else:
            await line.answer(200, COMPLETION)

    async with provider() as upstream:
        upstream.behave = answering
        policies = write_policies(tmp_path / "policies", {"first": upstream.url}, GUARDED)
        (policies / "safety.yaml").write_text(SAFETY)
        async with gateway(tmp_path, policies) as made:
            yield made


def kept() -> Counter[str]:
    """How many objects there are of what one call is made of."""
    return Counter(name for one in gc.get_objects() if (name := type(one).__name__) in ONE_CALL)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": "triage", "messages": TURN}),
        ("/v1/chat/completions", {"model": "guarded", "messages": TURN}),
        ("/v1/messages", {"model": "triage", "messages": TURN, "max_tokens": 9}),
        ("/v1/responses", {"model": "triage", "input": "hi", "store": False}),
    ],
)
async def test_a_call_is_gone_when_it_is_over(served: Gateway, path: str, body: dict[str, Any], streamed: bool) -> None:
    asked = {**body, "stream": streamed}
    headers = {"authorization": f"Bearer {KEY}", "anthropic-version": "2023-06-01"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=60) as http:
        assert (await http.post(path, json=asked)).status_code == 200
        gc.collect()
        gc.disable()
        try:
            before = kept()
            for _ in range(CALLS):
                assert (await http.post(path, json=asked)).status_code == 200
            grown = {name: count - before[name] for name, count in kept().items() if count - before[name] > SOME}
        finally:
            gc.enable()
    assert not grown, grown
