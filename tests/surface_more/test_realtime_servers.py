"""MCP servers in realtime sessions: a client names those that the operator lists, and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from realtime_script import PII, Script, item, said, say, session
from test_realtime import Upstream, upstream

from gateway.api.realtime.servers import refusal

__all__ = ["upstream"]

LISTED = "mcp: {hosts: [docs.example]}\n"


def names(url: Any = "https://docs.example/mcp", field: str = "session", **more: Any) -> dict[str, Any]:
    tool = {"type": "mcp", "server_label": "docs", "server_url": url, "authorization": "tok-1", **more}
    kind = "session.update" if field == "session" else "response.create"
    return {"type": kind, "event_id": "mine", field: {"tools": [{"type": "function", "name": "f"}, tool]}}


@pytest.mark.parametrize("extra", ["", LISTED, LISTED + PII])
async def test_only_hosts_of_the_operators_list_may_be_called(tmp_path: Path, upstream: Upstream, extra: str) -> None:
    script = Script(upstream)
    async with session(tmp_path, upstream, extra) as (connection, _):
        for field in ("session", "response"):
            await say(connection, names("https://evil.example/mcp", field))
            told = await said(connection)
            assert (told["type"], told["error"]["code"], told["error"]["event_id"]) == ("error", "mcp_server_not_allowed", "mine")
            assert told["error"]["param"] == f"{field}.tools[1].server_url"
        await connection.send(json.dumps(names("https://evil.example/mcp")).replace('"mcp"', '"\\u006dcp"').encode())
        assert (await said(connection))["error"]["code"] == "mcp_server_not_allowed"
        await say(connection, names())
        told = await said(connection)
        assert told["type"] == ("session.updated" if extra else "error")
        await say(connection, item("good day"))
        assert (await said(connection))["type"] == "conversation.item.added"
    assert [one["type"] for one in script.heard] == (["session.update"] if extra else []) + ["conversation.item.create"]


def test_nothing_is_hidden_from_one_reader() -> None:
    twice = '{"type": "session.update", "session": {"tools": [{"type": "mcp", "server_url": "https://evil.example"}]}, "session": null}'
    assert "stands twice" in str(refusal(twice, ["docs.example"]))
    gmail = json.dumps(names(None, connector_id="connector_gmail"))
    assert "mcp_server_not_allowed" in str(refusal(gmail, ["docs.example"])) and refusal(gmail, [], ["connector_gmail"]) is None
    for plain in ("no json", b"\x00\xff" * 100, b"\0" * 400, "", "[]", '{"type": "input_audio_buffer.append", "audio": "UklGRg"}', '{"session": {"tools": "x"}}', b"\xff"):
        assert refusal(plain, []) is None


@pytest.mark.parametrize("lenient", [
    '"x": NaN', '"x": -Infinity', '"x": "\\ud800"', '"x": "\n"', '"x": ' + "1" * 5000, '"x": ' + "[" * 5000 + "]" * 5000,
])  # fmt: skip
def test_what_only_a_more_lenient_reader_understands_goes_nowhere(lenient: str) -> None:
    evil = json.dumps(names("https://evil.example"))
    for event in (evil.replace("{", "{" + lenient + ", ", 1), evil.replace('"session": {', '"session": {' + lenient + ", ")):
        assert json.loads(refusal(event, ["docs.example"]) or "{}")["error"]["code"] in ("invalid_json", "mcp_server_not_allowed")


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_neither_does_what_is_written_in_other_characters(coding: str) -> None:
    event = json.dumps(names("https://evil.example"))
    assert "invalid_json" in (refusal(event.encode(coding), ["docs.example"]) or "")
    assert "invalid_json" in (refusal("\ufeff" + event, ["docs.example"]) or "")


async def test_what_opens_a_server_is_no_text_to_judge(tmp_path: Path, upstream: Upstream) -> None:
    script = Script(upstream)
    guards = "guardrails: {keys: {type: secrets, action: mask}, words: {type: blocklist, phrases: [hidden]}}\n"
    token, url = "ghp_" + "aB3dE5fG7h" * 3 + "iJ9kL1", "https://docs.example/hidden/path"
    event = names(url, authorization=token, headers={"x-key": token})
    async with session(tmp_path, upstream, LISTED + guards) as (connection, _):
        await say(connection, event)
        assert (await said(connection))["type"] == "session.updated"
        await say(connection, names("https://docs.example/mcp", server_description="hidden"))
        assert (await said(connection))["error"]["code"] == "guardrail_blocked"
    assert [one["session"] for one in script.heard] == [event["session"]]
