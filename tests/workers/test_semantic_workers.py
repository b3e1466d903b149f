"""``serve --workers 2`` over a real Redis 8 with ``index: redis`` and a real PostgreSQL with ``index: pgvector``: both
serve what either keeps, and so does a worker that comes after all others were killed."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import httpx
import pytest
from gateway_server import write_policies
from postgres_server import PostgresServer
from redis_server import RedisServer
from scripted import COMPLETION, Line, provider
from worker_house import House, until

MODELS = ["redis", "pgvector"]
FAQ = "".join(
    f"""\
  - name: {name}
    candidates: [{{provider: first, model: m}}]
    semantic_cache: {{index: {name}, delta: 0.5, alpha: 0.4, reask_rate: 0.01, average_run_length: 5000}}
"""
    for name in MODELS
)
SUBJECTS = ["refund", "invoice", "parcel", "password", "warranty", "shipping", "coupon", "account"]
WAYS = ["how do I get my {} sorted please", "please how do I get my {} sorted", "how would I get my {} sorted"]
ENOUGH = 3000


async def teacher(line: Line) -> None:
    said = line.seen.body["messages"][-1]["content"]
    text = f"about {next((one for one in SUBJECTS if one in said), '?')}"
    choice = {"index": 0, "message": {"role": "assistant", "content": text, "refusal": None}, "finish_reason": "stop"}
    await line.answer(body={**COMPLETION, "choices": [{**choice, "logprobs": None}]})


async def test_two_workers_and_those_who_come_after_them_serve_from_one_index(
    tmp_path: Path, redis_8: RedisServer, pgvector: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_DATABASE_URL", pgvector.url)
    rng = random.Random(3)
    async with provider() as upstream:
        upstream.behave = teacher
        house = House(tmp_path, write_policies(tmp_path / "policies", {"first": upstream.url}, FAQ), redis_8.url)
        house.env |= {"UNDERSTUDY_DATABASE_URL": pgvector.url, "UNDERSTUDY_PGVECTOR_TIMEOUT_MS": "2000"}
        try:
            await house.start(2)
            async with house.client(limits=httpx.Limits(max_keepalive_connections=0)) as http:

                async def ask(model: str, subject: str) -> bool:
                    text = f"{rng.choice(WAYS).format(subject)} {''.join(rng.choices('bcdfg', k=5))}"
                    body = {"model": model, "messages": [{"role": "user", "content": text}]}
                    answer = await http.post("/v1/chat/completions", json=body)
                    assert answer.json()["choices"][0]["message"]["content"] == f"about {subject}"
                    return answer.headers["x-understudy-cache"] == "semantic"

                async def hits(model: str, most: int) -> int:
                    return sum([await ask(model, rng.choice(SUBJECTS)) for _ in range(most)])

                async def opens(model: str) -> None:
                    for _ in range(ENOUGH // 25):
                        if await hits(model, 25) >= 18:
                            return
                    raise AssertionError(f"{model} never opened at both")

                for model in MODELS:
                    await opens(model)
                before = house.workers()
                for worker in before:
                    os.kill(worker, signal.SIGKILL)
                await until(lambda: house.serving() == 2 and not set(before) & set(house.workers()), "they never came back")
                for model in MODELS:
                    await opens(model)
                assert house.stop()[-1] == 0
        finally:
            house.end()
