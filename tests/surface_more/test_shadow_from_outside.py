"""A guardrail in shadow that asks a provider, in a whole gateway: the answer is here before the judge has spoken, and
what it says then is on the call, in metrics and among the incidents."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import httpx
import sqlalchemy as sa
from gateway_server import KEY, Gateway
from scripted import Line, provider
from test_guards_from_outside import ask, guarded, scoring

from gateway.storage.engine import write_engine
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.tables import CALLS, INCIDENTS
from gateway.storage.writing.writer import SqlWriter

SAFETY = """
guardrails:
  watcher:
    {type: moderation, provider: judge, thresholds: {violence: 0.4}, directions: [input], shadow: true, timeout_ms: 60000}
"""
COUNTED = 'understudy_guardrail_verdicts_total{action="block",direction="input",guardrail="watcher",shadow="yes"} 1.0'


async def test_a_late_verdict_is_recorded_everywhere(tmp_path: Path) -> None:
    speaks = asyncio.Event()
    said = scoring({"kill": ("violence", 0.9)})

    async def behave(line: Line) -> None:
        await speaks.wait()
        await said(line)

    async with provider() as upstream, provider() as judge:
        judge.behave = behave
        async with guarded(tmp_path, upstream, judge, SAFETY) as made, httpx.AsyncClient() as http:
            assert (await ask(made, "kill them")).choices[0].message.content == "hello"
            assert rows(made, sa.select(CALLS.c.verdicts)) == [("[]",)]
            speaks.set()
            while COUNTED not in await metrics(made, http):
                await asyncio.sleep(0.01)
            found = rows(made, sa.select(INCIDENTS.c.guardrail, INCIDENTS.c.action, INCIDENTS.c.sample))
            assert found == [("watcher", "block", "kill them")]
            assert rows(made, sa.select(CALLS.c.verdicts)) == [('["watcher:block:shadow"]',)]


async def metrics(made: Gateway, http: httpx.AsyncClient) -> str:
    return (await http.get(f"{made.url}/metrics", headers={"authorization": f"Bearer {KEY}"})).text


def rows(made: Gateway, query: sa.Select[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """What a question finds once everything has been ingested."""
    engine = write_engine(made.home.database_url)
    writer = SqlWriter(engine)
    Ingester(made.home, writer, threading.Event()).drain()
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(query)]
    writer.close()
    return found
