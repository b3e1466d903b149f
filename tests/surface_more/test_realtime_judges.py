"""Guardrails that ask others inside realtime sessions, and where verdicts of sessions are seen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from gateway_server import Gateway, gateway, write_policies
from realtime_script import ADDRESS, CREATE, Script, deltas, item, of, said, say, spoken, until
from scripted import Line, Provider, provider
from test_guards_from_outside import MODERATED, scoring
from test_realtime import Upstream, at, call_of, upstream
from test_shadow_from_outside import metrics, rows
from websockets.asyncio.client import ClientConnection

from gateway.storage.tables import CALLS, INCIDENTS

__all__ = ["upstream"]
Talk = tuple[ClientConnection, Gateway]


@asynccontextmanager
async def judged(tmp: Path, upstream: Upstream, judge: Provider, safety: str) -> AsyncIterator[Talk]:
    folder = write_policies(tmp / "policies", {"first": f"http://127.0.0.1:{upstream.port}/v1"})  # type: ignore[attr-defined]
    main = folder / "gateway.yaml"
    main.write_text(main.read_text().replace(
        "providers:\n", f'providers:\n  judge: {{type: openai, base_url: "{judge.url}", api_key: sk-judge-0001}}\n', 1
    ))  # fmt: skip
    (folder / "safety.yaml").write_text(safety)
    async with gateway(tmp, folder) as served, at(served) as connection:
        await said(connection)
        yield connection, served


@pytest.mark.parametrize("window", [0, 40])
async def test_a_judge_is_asked_before_anything_leaves(tmp_path: Path, upstream: Upstream, window: int) -> None:
    """It sees texts as masked as the provider does; what it stops ends one response, and the session goes on."""
    says = spoken(*(f"word {number} " for number in range(20)), "I kill", " you", " all day long.")
    script = Script(upstream, *(says[:-1] if window else says))  # the end of what is cancelled is the provider's answer
    async with provider() as judge:
        judge.behave = scoring({"kill": ("violence", 0.9)})
        safety = MODERATED.replace("thresholds", f"window: {window}, thresholds")
        async with judged(tmp_path, upstream, judge, safety) as (connection, served):
            await say(connection, item(f"I am {ADDRESS}"))
            assert (await said(connection))["item"]["content"][0]["text"] == f"I am {ADDRESS}"
            assert judge.seen[0].body["input"] == ["I am [EMAIL_1]"]
            await say(connection, item("kill them"))
            assert (await said(connection))["error"]["event_id"] == "mine"
            await say(connection, CREATE)
            events = await until(connection, "response.done")
            assert of(events, "error")[0]["error"]["code"] == "guardrail_blocked"
            assert "kill" not in json.dumps(events) and bool(deltas(events)) is bool(window)
            script.says = spoken("good day, [EMAIL_1]", response="r2", item="i2")
            await say(connection, CREATE)
            assert deltas(await until(connection, "response.done")) == f"good day, {ADDRESS}"
        assert set((await call_of(served)).verdicts) == {"privacy:mask", "outside:block"}


async def test_a_judge_that_is_away_stops_the_event(tmp_path: Path, upstream: Upstream) -> None:
    async def away(line: Line) -> None:
        await line.answer(status=500, body={})

    script = Script(upstream)
    async with provider() as judge:
        judge.behave = away
        async with judged(tmp_path, upstream, judge, MODERATED) as (connection, _):
            await say(connection, item("good day"))
            assert (await said(connection))["error"]["code"] == "guardrail_failed"
    assert script.heard == []


async def test_a_judge_in_shadow_delays_nothing(tmp_path: Path, upstream: Upstream) -> None:
    speaks = asyncio.Event()
    scores = scoring({"kill": ("violence", 0.9)})

    async def behave(line: Line) -> None:
        await speaks.wait()
        await scores(line)

    Script(upstream, *spoken("I kill"))
    async with provider() as judge:
        judge.behave = behave
        safety = MODERATED.replace("thresholds", "shadow: true, timeout_ms: 60000, thresholds")
        async with judged(tmp_path, upstream, judge, safety) as (connection, served):
            await say(connection, item("kill them"))
            await said(connection)
            await say(connection, CREATE)
            assert deltas(await until(connection, "response.done")) == "I kill"
            await connection.close()
            await call_of(served)
            speaks.set()
            while not (found := rows(served, sa.select(INCIDENTS.c.guardrail, INCIDENTS.c.direction))):
                await asyncio.sleep(0.01)
    assert {one[0] for one in found} == {"outside"}


async def test_verdicts_are_on_the_call_in_metrics_and_among_incidents(tmp_path: Path, upstream: Upstream) -> None:
    Script(upstream, *spoken("about project falcon."))
    words = "guardrails: {words: {type: blocklist, phrases: [project falcon]}}\n"
    async with provider() as judge, judged(tmp_path, upstream, judge, words) as (connection, served), httpx.AsyncClient() as http:
        await say(connection, item("tell jane@example.org about project falcon"))
        await said(connection)
        await say(connection, CREATE)
        await until(connection, "response.done")
        await connection.close()
        await call_of(served)
        counted = 'understudy_guardrail_verdicts_total{action="block",direction="%s",guardrail="words",shadow="no"} 1.0'
        while (told := await metrics(served, http)) and any(counted % one not in told for one in ("input", "output")):
            await asyncio.sleep(0.01)
        incidents = rows(served, sa.select(INCIDENTS.c.direction, INCIDENTS.c.sample))
        assert sorted(incidents) == [
            ("input", "tell [EMAIL_1] about project falcon"), ("output", "about project falcon."),
        ]  # fmt: skip
        assert rows(served, sa.select(CALLS.c.verdicts)) == [('["words:block","words:block"]',)]
