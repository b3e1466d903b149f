"""``serve --workers 2`` over a real Redis 8 with ``index: redis``: both serve what either keeps, and so does a worker that
comes after all others were killed."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import httpx
from gateway_server import write_policies
from redis_server import RedisServer
from scripted import COMPLETION, Line, provider
from worker_house import House, until

FAQ = """\
  - name: faq
    candidates: [{provider: first, model: m}]
    semantic_cache: {index: redis, delta: 0.2, alpha: 0.2, reask_rate: 0.01, average_run_length: 5000}
"""
SUBJECTS = ["refund", "invoice", "parcel", "password", "warranty", "shipping", "coupon", "account"]
WAYS = ["how do I get my {} sorted please", "please how do I get my {} sorted", "how would I get my {} sorted"]
ENOUGH = 3000


async def teacher(line: Line) -> None:
    said = line.seen.body["messages"][-1]["content"]
    text = f"about {next((one for one in SUBJECTS if one in said), '?')}"
    choice = {"index": 0, "message": {"role": "assistant", "content": text, "refusal": None}, "finish_reason": "stop"}
    await line.answer(body={**COMPLETION, "choices": [{**choice, "logprobs": None}]})


async def test_two_workers_and_those_who_come_after_them_serve_from_one_index(
    tmp_path: Path, redis_8: RedisServer
) -> None:
    rng = random.Random(3)
    async with provider() as upstream:
        upstream.behave = teacher
        house = House(tmp_path, write_policies(tmp_path / "policies", {"first": upstream.url}, FAQ), redis_8.url)
        try:
            await house.start(2)
            async with house.client(limits=httpx.Limits(max_keepalive_connections=0)) as http:

                async def ask(subject: str) -> bool:
                    text = f"{rng.choice(WAYS).format(subject)} {''.join(rng.choices('bcdfg', k=5))}"
                    body = {"model": "faq", "messages": [{"role": "user", "content": text}]}
                    answer = await http.post("/v1/chat/completions", json=body)
                    assert answer.json()["choices"][0]["message"]["content"] == f"about {subject}"
                    return answer.headers["x-understudy-cache"] == "semantic"

                async def hits(most: int) -> int:
                    return sum([await ask(rng.choice(SUBJECTS)) for _ in range(most)])

                for _ in range(ENOUGH // 50):
                    if await hits(50) >= 35:
                        break
                else:
                    raise AssertionError("it never opened at both")
                before = house.workers()
                for worker in before:
                    os.kill(worker, signal.SIGKILL)
                await until(lambda: house.serving() == 2 and not set(before) & set(house.workers()), "they never came back")
                for _ in range(40):
                    if await hits(25) >= 15:
                        break
                else:
                    raise AssertionError("what was proven is lost")
                assert house.stop()[-1] == 0
        finally:
            house.end()
