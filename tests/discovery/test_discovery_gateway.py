"""Untagged calls are captured for discovery only on opt-in, masked, and never shown as stored completions."""

from __future__ import annotations

from pathlib import Path

import httpx
import msgspec
import pytest
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from scripted import provider

from gateway.config import Discover
from gateway.storage.engine import write_engine
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import CallRecord
from gateway.storage.writing.ingest import ingest
from gateway.storage.writing.writer import SqlWriter
from trainer.discovery.find import run

SYSTEM = "Sort letters into folders for jane@example.com today."


def body(number: int, **more: object) -> dict[str, object]:
    user = {"role": "user", "content": f"letter {number} of bob@example.com"}
    return {"model": "first/m", "messages": [{"role": "system", "content": SYSTEM}, user], **more}


async def asked(tmp_path: Path, extra: str) -> tuple[Gateway, list[CallRecord], httpx.Response]:
    """Three untagged calls, one of them a stream and one with ``store: false``; the records and the endpoint's answer."""
    async with provider() as upstream:
        policies = write_policies(tmp_path / "policies", {"first": upstream.url}, gateway=extra)
        async with gateway(tmp_path, policies) as served:
            headers = {"authorization": f"Bearer {KEY}"}
            async with httpx.AsyncClient(base_url=served.url, headers=headers) as http:
                for number, more in enumerate(({}, {"stream": True}, {"store": False})):
                    answer = await http.post("/v1/chat/completions", json=body(number, **more))
                    assert answer.status_code == 200
            records = [record for record in served.records() if isinstance(record, CallRecord)]
            async with httpx.AsyncClient(base_url=served.url) as http:
                assert (await http.get("/admin/api/discovered")).status_code == 401
                await http.post("/admin/login", json={"key": ADMIN})
                found = await http.get("/admin/api/discovered")
            return served, records, found


async def test_nothing_is_captured_unless_the_policies_say_so(tmp_path: Path) -> None:
    _, records, found = await asked(tmp_path, "")
    assert [record.text for record in records] == [None] * 3
    assert {record.fingerprint for record in records} == {""}
    assert found.json() == {"enabled": False, "at": None, "captured": 0, "tasks": []}


async def test_on_opt_in_untagged_calls_are_captured_masked_and_hidden(tmp_path: Path) -> None:
    served, records, found = await asked(tmp_path, "discover: {rate: 1.0, retention_days: 3}")
    assert [record.text is not None for record in records] == [True, True, False]
    assert found.json()["enabled"] and found.json()["at"] is None
    text = records[0].text
    assert text is not None and text.mask and not text.visible and not text.trainable and text.retention_days == 3
    assert records[0].fingerprint == records[1].fingerprint != ""
    writer = SqlWriter(write_engine(served.home.database_url))
    with writer.transaction() as connection:
        ingest(connection, records, {})
    writer.close()
    reader = open_reader(served.home)
    kept = reader.untagged_calls(since=0, limit=10)
    (total,) = reader.untagged_totals(since=0)
    shown = reader.completions("default", model=None, metadata={}, after=None, limit=9, descending=True)
    reader.close()
    assert (len(kept), total.calls, shown) == (2, 3, [])
    assert "example.com" not in msgspec.json.encode(kept).decode()
    assert kept[0].fingerprint == records[0].fingerprint
    result = run(served.home, Discover(rate=1.0), now=records[-1].created_at + 1)
    assert result.captured == 2
    assert msgspec.json.decode(served.home.discovered.read_bytes())["captured"] == 2


@pytest.mark.parametrize("rate", ["2", "-1", "x"])
async def test_a_rate_is_a_share(tmp_path: Path, rate: str) -> None:
    from gateway.policy import files

    policies = write_policies(tmp_path / "p", {"first": "http://127.0.0.1:9/v1"}, gateway=f"discover: {{rate: {rate}}}")
    with pytest.raises(files.PolicyError):
        files.load(policies, {})
