"""Several students in shadow side by side: the same calls, one question to the teacher, one purse."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from msgspec import structs
from proving_ground import Ground, ground, install, saying
from scripted import Provider

from gateway.storage.reading.reader import open_reader
from gateway.storage.records import PairRecord
from optimizer.rollout import Stage

RATE = "engines: {classifier: {usd_per_cpu_hour: 1800000}}\n"  # two milliseconds are a dollar


async def beside(place: Ground) -> None:
    """Two more students, in shadow; waits until the gateway knows of them."""
    home = place.gateway.home
    reader = open_reader(home)
    (one,) = await asyncio.to_thread(reader.students)
    reader.close()
    for name, version in (("stub", 2), ("stuc", 3)):
        await asyncio.to_thread(install, home, structs.replace(one, id=name, version=version, epoch=0), Stage.SHADOW)
    for number in range(6000):
        await place.ask(f"are you there {number}")
        if {"stub", "stuc"} <= {one.student for one in shadows(place)}:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the gateway never heard of them")


def shadows(place: Ground) -> list[PairRecord]:
    return [one for one in place.gateway.records() if isinstance(one, PairRecord) and one.kind == "shadow"]


async def test_the_teacher_is_asked_once_for_all_that_stand_in_shadow(
    tmp_path: Path, teacher: Provider, engine: Provider
) -> None:
    teacher.behave = engine.behave = saying(lambda text: text)
    async with ground(tmp_path, teacher, engine, stage=Stage.LIVE) as place:
        await beside(place)
        for number in range(4):
            assert await place.ask(f"bill {number}") == "students/stu"
        for _ in range(6000):
            found = [one for one in shadows(place) if one.teacher_text.startswith("bill")]
            if len(found) == 8:
                break
            await asyncio.sleep(0.05)
        asked = [line.body["messages"][-1]["content"] for line in teacher.seen]
        assert [asked.count(f"bill {number}") for number in range(4)] == [1, 1, 1, 1]
        calls = {name: {one.call_id for one in found if one.student == name} for name in ("stub", "stuc")}
        assert calls["stub"] == calls["stuc"] and len(calls["stub"]) == 4


async def test_the_days_money_is_one_for_all_that_stand_in_shadow(
    tmp_path: Path, teacher: Provider, engine: Provider
) -> None:
    teacher.behave = engine.behave = saying(lambda text: "billing")
    money = "promotion: {shadow: {usd_per_day: 1000}}\n"
    async with ground(tmp_path, teacher, engine, promotion=money, gateway_yaml=RATE) as place:
        await beside(place)
        spent = len(shadows(place))
        assert all(one.extra_cost_usd == pytest.approx(1.0) for one in shadows(place))  # the students' own time is charged
        budget = spent + 60
        (place.policies / "promotion.yaml").write_text(f"promotion: {{shadow: {{usd_per_day: {budget}}}}}\n")
        quiet = 0
        while quiet < 5:
            before = len(shadows(place))
            await place.ask("a bill")
            await asyncio.sleep(0.15)
            quiet = quiet + 1 if len(shadows(place)) == before else 0
        each = Counter(one.student for one in shadows(place))
        assert each.total() >= budget > 2 * max(each.values())  # together, and none of them alone
