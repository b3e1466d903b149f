"""What the shipped policies promise, and that traffic is taken back before the next call is answered."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
from gateway_server import ADMIN
from proving_ground import ground, saying
from scripted import Line, Provider

from gateway.config.learning import USUAL_GATES
from gateway.policy.files import load
from gateway.storage.records import DemotionRecord
from optimizer.gates import Agreement, Cost, Latency, Quality, Safety, Score
from optimizer.rollout import Stage

SHIPPED = Path(__file__).resolve().parents[2] / "policies"
SERVES = """promotion:
  shadow: {gates: [agreement]}
  canary: {share: 0.999999, reask_rate: 1.0e-12, gates: [agreement]}
"""


def test_the_shipped_gates_are_the_promised_ones_at_both_steps() -> None:
    config = load(SHIPPED, {})
    for rules in (config.promotion.shadow, config.promotion.canary):
        assert rules.gates == list(USUAL_GATES)
    found = {
        (type(gate), getattr(gate, "scorer", ""), getattr(gate, "event", "")): (
            getattr(gate, "at_least", None) or getattr(gate, "at_most", None)
        )
        for gate in USUAL_GATES
    }
    assert found == {
        (Agreement, "", ""): None, (Score, "folded", ""): 0.80, (Score, "token_f1", ""): 0.85,
        (Quality, "", ""): 0.95, (Safety, "harmless", "toxicity"): 0.005, (Safety, "pii_free", "pii"): 0.005,
        (Safety, "grounded", "hallucination"): 0.01, (Latency, "", ""): None, (Cost, "", ""): 0.5,
    }  # fmt: skip
    assert all(gate.per_slice for gate in USUAL_GATES), "overall and per slice"
    assert config.promotion.canary.share == 0.05
    text = (SHIPPED / "promotion.yaml").read_text()
    for gate in USUAL_GATES:
        assert re.search(rf"type: {gate.__struct_config__.tag}\b", text)


async def test_a_rollback_holds_from_the_next_call_on(tmp_path: Path, teacher: Provider, engine: Provider) -> None:
    """No clock: the call that follows the answer to the rollback is the teacher's, and so is every
    one after it; what was done stands in the spool."""
    teacher.behave = engine.behave = saying(lambda text: "billing")
    async with ground(tmp_path, teacher, engine, promotion=SERVES, stage=Stage.CANARY) as place:
        assert await place.ask("one") == "students/stu"
        async with httpx.AsyncClient(base_url=place.gateway.url) as admin:
            login = await admin.post("/admin/login", json={"key": ADMIN})
            admin.headers["x-csrf-token"] = login.json()["csrf"]
            done = await admin.post("/admin/api/students/stu/rollback", json={"reason": "it is wrong"})
            assert done.status_code == 200
        assert await place.ask("two") == "first/m"
        assert set(await asyncio.gather(*(place.ask(f"more {number}") for number in range(8)))) == {"first/m"}
        (demotion,) = [one for one in place.gateway.records() if isinstance(one, DemotionRecord)]
        assert (demotion.student, demotion.to, demotion.reason) == ("stu", "retired", "it is wrong")


async def test_an_engine_that_is_away_for_a_moment_costs_no_student_its_place(
    tmp_path: Path, teacher: Provider, engine: Provider
) -> None:
    """Its breaker opens after five failures, and the teacher answers. That nobody asks meanwhile is no evidence
    against the student, however many calls come by."""
    teacher.behave = saying(lambda text: "billing")

    async def away(line: Line) -> None:
        await line.answer(500, {"error": {"message": "starting"}})

    engine.behave = away
    async with ground(tmp_path, teacher, engine, promotion=SERVES, stage=Stage.CANARY) as place:
        answered = [await place.ask(f"call {number}") for number in range(60)]
        assert set(answered) == {"first/m"} and 5 <= len(engine.seen) < 15
        assert not [one for one in place.gateway.records() if isinstance(one, DemotionRecord)]
