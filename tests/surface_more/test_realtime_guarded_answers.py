"""Guardrails inside realtime sessions: what providers say, held back, changed and stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from realtime_script import (
    CREATE,
    SOUND,
    WORDS,
    Event,
    Script,
    deltas,
    done,
    of,
    said,
    say,
    session,
    spoken,
    until,
)
from test_realtime import USAGE, Upstream, at, call_of, house, upstream
from websockets.asyncio.server import ServerConnection

__all__ = ["upstream"]


NAMES = [
    "response.text", "response.output_text", "response.function_call_arguments", "response.mcp_call_arguments",
    "response.audio_transcript", "response.output_audio_transcript",
]  # fmt: skip


@pytest.mark.parametrize("kind", NAMES)
async def test_a_response_that_says_it_ends_before_it_is_said(tmp_path: Path, upstream: Upstream, kind: str) -> None:
    script = Script(upstream)
    script.says = spoken("They call it ", "project fal", "con", " here", kind=kind)[:-1]
    async with session(tmp_path, upstream, WORDS + SOUND) as (connection, served):
        await say(connection, CREATE)
        events = await until(connection, "response.done")
        assert (await script.queue.get())["type"] == "response.create"
        cancel, delete = await script.queue.get(), await script.queue.get()
        assert (await said(connection))["type"] == "conversation.item.deleted"
        script.says = spoken("good day", kind=kind, response="r2", item="i2")
        await say(connection, CREATE)
        assert deltas(await until(connection, "response.done")) == "good day"
    assert (cancel["type"], cancel["response_id"]) == ("response.cancel", "r")
    assert (delete["type"], delete["item_id"]) == ("conversation.item.delete", "i")
    assert deltas(events) == "They call it project fal" and "falcon" not in json.dumps(events)
    assert of(events, "error")[0]["error"]["code"] == "guardrail_blocked"
    assert events[-1]["response"]["output"] == [] and events[-1]["response"]["usage"] == USAGE
    assert events[-1]["response"]["status_details"]["reason"] == "content_filter"
    call = await call_of(served)
    assert call.verdicts == ["words:block"] and call.completion_tokens == 20


async def test_a_text_that_is_told_only_at_the_end_is_judged_there(tmp_path: Path, upstream: Upstream) -> None:
    for place in (3, 4, 5, 6):
        script = Script(upstream, spoken("project falcon")[place])
        async with session(tmp_path / str(place), upstream, WORDS) as (connection, _):
            await say(connection, CREATE)
            assert (await said(connection))["error"]["code"] == "guardrail_blocked"
            if place == 6:
                assert (await said(connection))["response"]["output"] == []
            await say(connection, {"type": "session.update", "session": {}})
            assert (await until(connection, "session.updated"))
        assert "falcon" not in json.dumps(script.heard)


async def test_an_end_that_differs_from_what_came_before_is_judged_by_itself(tmp_path: Path, upstream: Upstream) -> None:
    says = spoken("good day")
    says[3]["text"] = "project falcon"
    Script(upstream, *says)
    async with session(tmp_path, upstream, WORDS) as (connection, _):
        await say(connection, CREATE)
        assert of(await until(connection, "error"), "response.output_text.done") == []


async def test_no_more_is_held_back_than_may_become_a_find(tmp_path: Path, upstream: Upstream) -> None:
    """What follows waits for nothing that is not there: the provider says no more until the client has it."""
    script = Script(upstream, *spoken("a clean beginning of ", "project falcon")[:4])
    async with session(tmp_path, upstream, WORDS) as (connection, _):
        await say(connection, CREATE)
        events = await until(connection, "response.output_text.delta")
        assert deltas(events) == "a clean beginning of "
        script.says = spoken("a clean beginning of ", "project falcon", "ry")[4:]
        await say(connection, CREATE)
        assert deltas(await until(connection, "response.output_text.done")) == "project falconry"


async def test_a_providers_error_about_our_own_cancel_is_not_the_clients(tmp_path: Path, upstream: Upstream) -> None:
    class Late(Script):
        def answers(self, event: Event) -> Iterator[Event]:
            if event["type"] == "response.cancel":
                yield {"type": "error", "event_id": "e", "error": {
                    "type": "invalid_request_error", "code": "response_cancel_not_active", "message": "No.",
                    "event_id": event["event_id"]}}  # fmt: skip
                yield done("completed", event["response_id"])
            else:
                yield from super().answers(event)

    Late(upstream, *spoken("project falcon.")[:3])
    async with session(tmp_path, upstream, WORDS) as (connection, _):
        await say(connection, CREATE)
        events = await until(connection, "response.done")
    assert [one["error"]["code"] for one in of(events, "error")] == ["guardrail_blocked"]


async def test_responses_side_by_side_are_judged_each_by_itself(tmp_path: Path, upstream: Upstream) -> None:
    one, two = spoken("pro", "ject fal", "con")[:-1], spoken("good", " day", "!", response="r2", item="i2")
    Script(upstream, *(event for pair in zip(one, two, strict=False) for event in pair), two[-1])
    async with session(tmp_path, upstream, WORDS) as (connection, _):
        await say(connection, CREATE)
        events = [*await until(connection, "response.done"), *await until(connection, "response.done")]
    assert deltas([one for one in events if one.get("response_id") == "r2"]) == "good day!"
    assert deltas([one for one in events if one.get("response_id") == "r"]) == "project fal"
    assert sorted((one["response"]["id"], len(one["response"]["output"])) for one in of(events, "response.done")) == [("r", 0), ("r2", 1)]


JUNK: list[Any] = [
    "no JSON", '["a"]', '{"type": "a", "type": "b"}', b"\x00", '{"type": 5, "delta": {"text": "project falcon!"}}',
    '{"type": "response.done", "response": 3}', '{"type": "response.done", "response": {"id": ["r"], "output": [{"id": [1]}, 2]}}',
    '{"type": "conversation.item.added", "previous_item_id": ["x"], "item": {"id": [1], "role": {"a": 1}, "content": [[1]]}}',
    '{"type": "conversation.item.input_audio_transcription.completed", "transcript": 3}', '{"type": "error", "error": "no"}',
    '{"type": "session.updated", "session": "x"}', '{"type": "x", "y": [["project falcon!"]]}', "{}",
]  # fmt: skip


@pytest.mark.parametrize("junk", JUNK, ids=repr)
async def test_whatever_a_provider_says_nothing_passes_unread_and_the_session_lives(
    tmp_path: Path, upstream: Upstream, junk: str | bytes
) -> None:
    class Babbling(Script):
        async def behave(self, connection: ServerConnection) -> None:
            await connection.send(junk)
            await super().behave(connection)

    Babbling(upstream, *spoken("good day"))
    async with house(tmp_path, upstream, WORDS) as served, at(served) as connection:
        before = await until(connection, "session.created")
        assert "falcon" not in json.dumps(before)
        await say(connection, CREATE)
        assert deltas(await until(connection, "response.done")) == "good day"


SHAPE = (
    "guardrails:\n  shape: {type: json_schema, schema: {type: object, required: [n]}}\n"
    "  grounds: {type: groundedness, sources: [tool_results], action: block}\n  personal: {type: pii}\n"
)


async def test_guardrails_of_whole_answers_wait_for_their_end_and_judge_nothing_else(tmp_path: Path, upstream: Upstream) -> None:
    """What a user says aloud, and a provider's error about the client's own words, are no answers."""
    kind, of_user = "conversation.item.input_audio_transcription", {"item_id": "u", "content_index": 0}
    heard = [
        {"type": f"{kind}.delta", **of_user, "delta": "It was 1934."},
        {"type": f"{kind}.completed", **of_user, "transcript": "It was 1934."},
    ]
    wrong = {"type": "error", "event_id": "e", "error": {"type": "invalid_request_error", "message": "No [EMAIL_1] here."}}
    script = Script(upstream, *heard, wrong, *spoken('{"n": "the bridge ', 'of 1932"}'))
    async with session(tmp_path, upstream, SHAPE + SOUND) as (connection, _):
        result = {"type": "function_call_output", "call_id": "c", "output": "the bridge of 1932, jane@example.org"}
        await say(connection, {"type": "conversation.item.create", "item": result})
        await said(connection)
        await say(connection, CREATE)
        events = await until(connection, "response.done")
        assert events[:2] == heard and events[2]["error"]["message"] == "No jane@example.org here."
        assert deltas(events[3:]) == '{"n": "the bridge of 1932"}'
        for number, text in enumerate(("no JSON", '{"n": "the bridge of 1934"}')):
            script.says = spoken(text[:3], text[3:], response=f"r{number}", item=f"i{number}")[:-1]
            await say(connection, CREATE)
            events = await until(connection, "response.done")
            assert deltas(events) == "" and of(events, "error"), text
