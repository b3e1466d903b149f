"""Threat row 15: a gateway whose policies lead back to itself notices at once."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import httpx
from gateway_server import KEY, gateway, write_policies
from scripted import provider


async def test_a_gateway_that_points_at_itself_ends_at_once(tmp_path: Path) -> None:
    async with provider() as upstream:
        policies = write_policies(tmp_path / "p", {"first": upstream.url, "itself": "http://127.0.0.1:1/v1"})
        async with gateway(tmp_path, policies) as served, httpx.AsyncClient(timeout=10) as http:
            settings = policies / "gateway.yaml"
            text = settings.read_text().replace("http://127.0.0.1:1/v1", served.base_url)
            settings.write_text(text.replace("sk-upstream-secret", KEY))
            served.app.state.reload()
            headers = {"authorization": f"Bearer {KEY}"}
            body = {"model": "itself/m", "messages": [{"role": "user", "content": "hi"}], "stream": False}
            for _ in range(200):  # until the policies were read again
                await http.post(f"{served.base_url}/chat/completions", json={**body, "model": "first/m"}, headers=headers)
                if len({getattr(one, "config_digest", "") for one in served.records()} - {""}) == 2:
                    break
                await asyncio.sleep(0.02)
            began = time.monotonic()
            for path, sent in (("/chat/completions", body), ("/embeddings", {"model": "itself/m", "input": "x"})):
                answer = await http.post(f"{served.base_url}{path}", json=sent, headers=headers)
                assert answer.status_code == 400, answer.text
                assert answer.json()["error"]["code"] == "loop_detected"
            assert time.monotonic() - began < 9
            calls = [one for one in served.records() if getattr(one, "model_asked", "") == "itself/m"]
            assert max(len(getattr(one, "attempts", ())) for one in calls) == 1
            # Another gateway in between is none of our business.
            other = {**headers, "via": "1.1 somebody-else, 1.0 cache"}
            fine = await http.post(f"{served.base_url}/chat/completions", json={**body, "model": "first/m"}, headers=other)
            assert fine.status_code == 200
            assert upstream.seen[-1].headers["via"].startswith("1.1 understudy-")
            assert socket.gethostname() not in upstream.seen[-1].headers["via"]
