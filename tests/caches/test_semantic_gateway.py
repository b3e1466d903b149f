"""The semantic cache in a whole gateway: a task opens on its own traffic, serves, and is closed by what its sampled
re-asks find once its teacher answers otherwise."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import ADMIN, KEY, gateway, write_policies
from scripted import COMPLETION, Line, provider

FAQ = """\
  - name: faq
    candidates: [{provider: first, model: m}]
    teacher: {provider: first, model: m}
    semantic_cache: {delta: 0.2, alpha: 0.2, reask_rate: 0.4, average_run_length: 100}
"""
SUBJECTS = ["refund", "invoice", "parcel", "password", "warranty", "shipping", "coupon", "account"]
WAYS = [
    "how do I get my {} sorted please",
    "please how do I get my {} sorted",
    "how would I get my {} sorted",
]
ENOUGH = 2500


class Teacher:
    """Answers by the subject, and after its mind has changed by chance."""

    def __init__(self) -> None:
        self.rng, self.changed = random.Random(2), False

    async def __call__(self, line: Line) -> None:
        said = line.seen.body["messages"][-1]["content"]
        text = next((one for one in SUBJECTS if one in said), "?")
        if self.changed:
            text += f" {self.rng.random()}"
        message = {"role": "assistant", "content": f"about {text}", "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        await line.answer(body={**COMPLETION, "choices": [choice]})


@pytest.mark.parametrize("index", ["exact", "redis", "pgvector"])
async def test_a_task_opens_serves_and_is_switched_off_when_it_breaks_its_bound(
    tmp_path: Path, index: str, request: pytest.FixtureRequest
) -> None:
    env = {"UNDERSTUDY_REDIS_URL": request.getfixturevalue("redis_8").url} if index == "redis" else {}
    if index == "pgvector":
        env["UNDERSTUDY_DATABASE_URL"] = request.getfixturevalue("pgvector").url
    env |= dict.fromkeys(("UNDERSTUDY_REDIS_TIMEOUT_MS", "UNDERSTUDY_PGVECTOR_TIMEOUT_MS"), "10000")  # busy is not away
    rng, teacher = random.Random(3), Teacher()
    async with provider() as upstream:
        upstream.behave = teacher
        policies = write_policies(
            tmp_path / "policies",
            {"first": upstream.url},
            FAQ.replace("delta: 0.2", f"index: {index}, delta: 0.2"),
        )
        async with (
            gateway(tmp_path, policies, **env) as served,
            httpx.AsyncClient(base_url=served.url, timeout=30) as http,
        ):
            await http.post("/admin/login", json={"key": ADMIN})
            headers = {"authorization": f"Bearer {KEY}"}

            async def ask() -> tuple[str, str, str]:
                subject = rng.choice(SUBJECTS)
                text = f"{rng.choice(WAYS).format(subject)} {''.join(rng.choices('bcdfg', k=6))}"
                body = {"model": "faq", "messages": [{"role": "user", "content": text}]}
                answer = await http.post("/v1/chat/completions", json=body, headers=headers)
                assert answer.status_code == 200
                said = answer.json()["choices"][0]["message"]["content"]
                return answer.headers["x-understudy-cache"], subject, said

            async def standing() -> dict[str, Any]:
                tasks = (await http.get("/admin/api/caches")).json()["tasks"]
                return dict(tasks[0]) if tasks else {"alarms": 0, "open": False}

            hits: list[tuple[str, str, str]] = []
            for _ in range(ENOUGH):
                found = await ask()
                hits += [found] if found[0] == "semantic" else []
                if len(hits) == 30:
                    break
            assert len(hits) == 30, await standing()
            assert all(said == f"about {subject}" for _, subject, said in hits)
            assert (await standing())["open"]
            teacher.changed = True
            for number in range(ENOUGH):
                await ask()
                if number % 20 == 19 and (await standing())["alarms"]:
                    break
            closed = await standing()
            assert (closed["alarms"], closed["open"]) == (1, False)
            assert closed["round"] >= 2
            assert "semantic" not in {(await ask())[0] for _ in range(20)}
            records: list[Any] = served.records()
            kept = [one for one in records if getattr(one, "cache", "") == "semantic"]
            assert len(kept) >= 30 and all(one.cost_usd == 0.0 and one.teacher_cost_usd > 0 for one in kept)
