"""A gateway with an exact cache over one scripted provider, and whoever asks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from gateway_server import KEY, Gateway, write_policies
from scripted import Provider

FAQ = """\
  - name: faq
    candidates: [{provider: first, model: m}]
    teacher: {provider: first, model: m}
    cache: true
  - name: other
    candidates: [{provider: first, model: m}]
"""
OTHERS = {
    "second": "a-key-for-the-tests-0002",  # another project's
    "barred": "a-key-for-the-tests-0003",  # may not use the task
    "few": "a-key-for-the-tests-0004",  # three requests a minute
    "poor": "a-key-for-the-tests-0005",
}


def policies(folder: Path, url: str, cache: str = "{enabled: true, ttl_s: 600}") -> Path:
    written = write_policies(folder, {"first": url}, FAQ, f"cache: {cache}")
    path = written / "gateway.yaml"
    keys = f"""keys:
  - {{name: tests, key: {KEY}, project: default}}
  - {{name: second, key: {OTHERS["second"]}, project: second}}
  - {{name: barred, key: {OTHERS["barred"]}, project: default, models: [other]}}
  - {{name: few, key: {OTHERS["few"]}, project: default, requests_per_minute: 3}}
  - {{name: poor, key: {OTHERS["poor"]}, project: default, budget_usd_day: 1.0}}
"""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("keys:")]
    path.write_text("\n".join(lines) + "\n" + keys)
    return written


class House:
    def __init__(self, served: Gateway, http: httpx.AsyncClient, upstream: Provider) -> None:
        self.served, self.http, self.upstream = served, http, upstream

    async def ask(
        self, text: str = "hi", *, key: str = KEY, headers: dict[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        body = {"model": "faq", "messages": [{"role": "user", "content": text}], **more}
        return await self.http.post(
            "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}", **(headers or {})}
        )

    async def twice(self, text: str, **more: Any) -> tuple[str, str]:
        return how(await self.ask(text, **more)), how(await self.ask(text, **more))


def how(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers.get("x-understudy-cache", "")
