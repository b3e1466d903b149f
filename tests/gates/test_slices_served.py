"""A slice that a student fails stays with the teacher, from the evidence to the answered call."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from proving_ground import ground, saying
from scripted import Provider

from gateway.storage.records import CallRecord
from optimizer.certificate import recompute
from optimizer.rollout import Stage

LEARN = """slices: [{name: vip, metadata: {tier: vip}}, {name: refunds, answer: [refund]}]"""
PROMOTION = """promotion:
  shadow: {gates: [agreement]}
  canary: {share: 0.999999, reask_rate: 1.0e-12, gates: [agreement]}
"""


def said(text: str) -> str:
    return "refund" if "back" in text else "billing"


async def test_the_certificate_names_the_slices_that_the_gateway_leaves_to_the_teacher(
    tmp_path: Path, teacher: Provider, engine: Provider
) -> None:
    teacher.behave = saying(lambda text: "legal" if text.startswith("VIP") or "back" in text else said(text))
    engine.behave = saying(said)
    async with ground(tmp_path, teacher, engine, learn=LEARN, promotion=PROMOTION) as place:
        for number in range(130):
            await place.ask(f"invoice {number} is wrong")
            if number < 30:
                await place.ask(f"VIP {number}", metadata={"tier": "vip"})
                await place.ask(f"money back {number}")
        pairs = await place.pairs(190)
        assert {(one.slice, one.agree) for one in pairs} == {
            ("rest", True),
            ("vip", False),
            ("refunds", False),
        }
        student = await asyncio.to_thread(place.prove)
        assert (student.stage, student.deferred) == (Stage.CANARY, ("vip", "refunds"))
        certificate = place.certificate()
        assert certificate.deferred == ("vip", "refunds")
        assert recompute(certificate) == []
        shown = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "gateway.cli", "--home", str(place.gateway.home.root), "verify", str(place.path())],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert shown.returncode == 0, shown.stdout
        assert "these slices stay with the teacher: vip, refunds" in shown.stdout
        await place.serving()
        before = len(teacher.seen)
        assert await place.ask("my invoice") == "students/stu"
        assert len(teacher.seen) == before
        assert await place.ask("VIP too", metadata={"tier": "vip"}) == "first/m"
        assert await place.ask("give it back") == "first/m"
        *_, vip, refund = (one for one in place.gateway.records() if isinstance(one, CallRecord))
        assert vip.reason == "the slice 'vip' stays with the teacher, as the certificate says"
        assert [(one.role, one.outcome) for one in refund.attempts] == [
            ("student", "deferred"),
            ("teacher", "ok"),
        ]
