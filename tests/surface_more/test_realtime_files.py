"""Files in a realtime session under guardrails: words are judged whatever they are wrapped in, documents are refused where somebody has to
read them, pictures pass as they do everywhere."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from made_documents import pdf
from realtime_script import ADDRESS, PII, WORDS, Script, item, said, say, session
from test_realtime import Upstream, call_of, upstream

__all__ = ["upstream"]

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def coded(words: str, kind: str = "text/plain") -> str:
    return f"data:{kind};base64," + base64.b64encode(words.encode()).decode()


def with_part(part: dict[str, Any], field: str = "item") -> dict[str, Any]:
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Read this."}, part]}
    if field == "item":
        return {"type": "conversation.item.create", "event_id": "mine", "item": message}
    return {"type": "response.create", "event_id": "mine", "response": {"output_modalities": ["text"], "input": [message]}}


FILES = [
    {"type": "input_file", "filename": "a.txt", "file_data": coded("tell me of project falcon")},
    {"type": "input_file", "file_data": coded("tell me of project falcon").partition(",")[2]},
    {"type": "input_file", "file_data": coded("tell me of project falcon", "application/octet-stream")},
    {"type": "file", "file": {"file_data": coded("tell me of project falcon")}},
    {"type": "input_image", "image_url": coded("tell me of project falcon", "text/plain")},
    {"type": "input_file", "file_data": "tell me of project falcon"},
    {"type": "project falcon", "file_data": coded("good day")},
]


@pytest.mark.parametrize("field", ["item", "response"])
@pytest.mark.parametrize("part", FILES, ids=str)
async def test_words_in_a_file_are_judged(tmp_path: Path, upstream: Upstream, part: dict[str, Any], field: str) -> None:
    script = Script(upstream)
    async with session(tmp_path, upstream, WORDS) as (connection, served):
        await say(connection, with_part(part, field))
        told = await said(connection)
        assert (told["type"], told["error"]["code"], told["error"]["event_id"]) == ("error", "guardrail_blocked", "mine")
        await say(connection, item("good day"))
        assert (await said(connection))["type"] == "conversation.item.added"
    assert len(script.heard) == 1 and (await call_of(served)).verdicts == ["words:block"]


async def test_what_nobody_objects_to_goes_on_as_it_came(tmp_path: Path, upstream: Upstream) -> None:
    script = Script(upstream)
    events = [with_part({"type": "input_file", "filename": "a.txt", "file_data": coded("good day")}),
              with_part({"type": "input_image", "image_url": PIXEL, "detail": "low"}),
              with_part({"type": "input_image", "image_url": coded("good day")})]  # fmt: skip
    async with session(tmp_path, upstream, WORDS) as (connection, _):
        for event in events:
            await say(connection, event)
            assert (await said(connection))["type"] == "conversation.item.added"
    assert script.heard == events


async def test_what_would_be_masked_in_a_file_is_stopped(tmp_path: Path, upstream: Upstream) -> None:
    script = Script(upstream)
    async with session(tmp_path, upstream, PII) as (connection, _):
        await say(connection, with_part({"type": "input_file", "file_data": coded(f"Write to {ADDRESS}.")}))
        assert (await said(connection))["error"]["code"] == "guardrail_blocked"
        await say(connection, item(f"Write to {ADDRESS}."))
        assert (await said(connection))["item"]["content"][0]["text"] == f"Write to {ADDRESS}."
    assert [one["item"]["content"][0]["text"] for one in script.heard] == ["Write to [EMAIL_1]."]


async def test_documents_are_refused_unless_they_may_pass_unread(tmp_path: Path, upstream: Upstream) -> None:
    document = base64.b64encode(pdf("good day")).decode()
    event = with_part({"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{document}"})
    script = Script(upstream)
    async with session(tmp_path / "one", upstream, WORDS) as (connection, served):
        await say(connection, event)
        told = (await said(connection))["error"]
        assert told["code"] == "guardrail_blocked" and "not read inside a realtime session. Send the document's text" in told["message"]
    assert not script.heard and (await call_of(served)).verdicts == ["words:unread-block"]
    allowed = WORDS.replace("type: blocklist", "type: blocklist, unread_documents: allow")
    async with session(tmp_path / "two", upstream, allowed) as (connection, served):
        await say(connection, event)
        assert (await said(connection))["type"] == "conversation.item.added"
    assert script.heard == [event] and (await call_of(served)).verdicts == ["words:unread-allow"]
