"""A request that does not look like what the student was certified on: the teacher answers, and what its author
changed opens a new version of the task."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import KEY, Gateway
from scripted import Provider
from student_house import house, sure_of

from gateway.protocol.chat import ChatRequest, Message
from gateway.protocol.fingerprint import fingerprint
from gateway.storage.engine import write_engine
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import CallRecord
from gateway.storage.writing.ingest import ingest
from gateway.storage.writing.writer import SqlWriter

SYSTEM = "Sort into: billing, shipping."
SHAPE = fingerprint(
    ChatRequest(
        model="sorting", messages=[Message(role="system", content=SYSTEM), Message(role="user", content="x")]
    )
)
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
FORM = {"type": "json_schema", "json_schema": {"name": "label", "schema": {"type": "object"}}}


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    engine = Provider()
    engine.behave = sure_of("billing")
    async with house(tmp_path, upstream, engine, SHAPE) as made:
        yield made


@pytest.mark.parametrize(
    ("system", "more", "by_student", "opens"),
    [
        (SYSTEM, {}, True, False),
        ("Sort into: billing, shipping, access.", {}, False, True),
        (SYSTEM, {"tools": [TOOL]}, False, True),
        (SYSTEM, {"response_format": FORM}, False, True),
        (SYSTEM, {"born_after_us": 1}, False, False),
    ],
)
async def test_a_stranger_goes_to_the_teacher(
    served: Gateway, upstream: Provider, system: str, more: dict[str, Any], by_student: bool, opens: bool
) -> None:
    ask = [{"role": "system", "content": system}, {"role": "user", "content": "my invoice is wrong"}]
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=served.base_url, headers=headers) as http:
        body = {"model": "sorting", "messages": ask, **more}
        answer = await http.post("/chat/completions", json=body)
    assert answer.status_code == 200
    (call,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert bool(call.student) is by_student
    assert bool(upstream.seen) is not by_student
    assert (call.fingerprint != SHAPE) is opens
    writer = SqlWriter(write_engine(served.home.database_url))
    with writer.transaction() as connection:
        ingest(connection, [call], {})
    writer.close()
    reader = open_reader(served.home)
    shapes = {one.fingerprint for one in reader.task_versions() if one.task == "sorting"}
    reader.close()
    assert call.fingerprint in shapes
