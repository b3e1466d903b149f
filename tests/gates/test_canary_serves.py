"""The canary of a running gateway begins small and grows as its answers are asked again and agree."""

from __future__ import annotations

from pathlib import Path

import httpx
from gateway_server import ADMIN
from proving_ground import ground, saying
from scripted import Provider

from gateway.storage.records import CallRecord
from optimizer.rollout import Stage

PROMOTION = """promotion:
  canary: {share: 0.2, most: 0.8, reask_rate: 0.999999, gates: [agreement]}
"""


async def test_the_share_of_a_canary_grows_with_its_evidence(
    tmp_path: Path, teacher: Provider, engine: Provider
) -> None:
    teacher.behave = engine.behave = saying(lambda text: "billing")
    async with ground(tmp_path, teacher, engine, promotion=PROMOTION, stage=Stage.CANARY) as place:
        for number in range(1200):  # how fast it grows is up to the draws, and to how soon re-asks are answered
            await place.ask(f"invoice {number}")
            if number % 20 == 19:
                calls = [one for one in place.gateway.records() if isinstance(one, CallRecord)]
                shares = [one.propensity if one.arm == "canary" else 1 - one.propensity for one in calls]
                if number >= 199 and shares[-1] > 0.55:
                    break
        assert abs(shares[0] - 0.2) < 1e-9
        assert shares[-1] > 0.5
        assert all(0.2 - 1e-9 <= one <= 0.8 + 1e-9 for one in shares)
        async with httpx.AsyncClient(base_url=place.gateway.url) as admin:
            await admin.post("/admin/login", json={"key": ADMIN})
            tasks = (await admin.get("/admin/api/tasks")).json()["tasks"]
        student = next(one for one in tasks if one["name"] == "sorting")["students"][0]
        assert student["watch"]["canary_share"] > 0.5 and student["deferred"] == student["slices"] == []
        served = [one.arm == "canary" for one in calls]
        assert sum(served[-100:]) > sum(served[:40])
        before = sum(one.arm == "canary" for one in calls)
        for number in range(20):  # a conversation stays on its side
            await place.ask(f"again {number}", metadata={"session_id": "one and the same"})
        *_, last = [[one.arm for one in place.gateway.records() if isinstance(one, CallRecord)][-20:]]
        assert before and len(set(last)) == 1
