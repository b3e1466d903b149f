"""Sound in realtime sessions that guardrails concern, and what was said aloud once it is in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from realtime_script import (
    BYTES,
    CREATE,
    REWRITE,
    SOUND,
    TEXT,
    WORDS,
    Event,
    Script,
    deltas,
    done,
    heard_say,
    of,
    said,
    say,
    session,
    spoken,
    until,
)
from test_realtime import Upstream, call_of, upstream

__all__ = ["upstream"]


async def test_what_was_spoken_is_not_rewritten_but_stopped(tmp_path: Path, upstream: Upstream) -> None:
    Script(upstream, *spoken("project falcon", kind="response.output_audio_transcript"))
    async with session(tmp_path, upstream, REWRITE + SOUND) as (connection, _):
        await say(connection, CREATE)
        events = await until(connection, "response.done")
    assert of(events, "error") and "falcon" not in json.dumps(events)


SOUNDS: list[Event] = [
    {"type": "input_audio_buffer.append", "event_id": "mine", "audio": BYTES},
    {"type": "conversation.item.create", "event_id": "mine", "item": {
        "type": "message", "role": "user", "content": [{"type": "input_audio", "audio": BYTES}]}},
    {"type": "session.update", "event_id": "mine", "session": {"output_modalities": ["audio"]}},
    {"type": "session.update", "event_id": "mine", "session": {"modalities": ["text", "audio"]}},
    {"type": "response.create", "event_id": "mine", "response": {"output_modalities": ["audio"]}},
    {"type": "response.create", "event_id": "mine"},
]  # fmt: skip


@pytest.mark.parametrize("event", SOUNDS, ids=lambda event: json.dumps(event)[:80])
async def test_sound_is_refused_until_the_operator_allows_it(tmp_path: Path, upstream: Upstream, event: Event) -> None:
    script = Script(upstream, *spoken("good day", kind="response.output_audio_transcript"))
    async with session(tmp_path / "a", upstream, WORDS) as (connection, _):
        await say(connection, event)
        told = (await said(connection))["error"]
        assert (told["code"], told["event_id"]) == ("sound_unjudged", "mine")
        assert "unjudged_sound: allow" in told["message"]
    assert script.heard == []
    async with session(tmp_path / "b", upstream, WORDS + SOUND) as (connection, _):
        await say(connection, event)
        assert await script.queue.get() == event


async def test_a_session_that_asked_for_text_may_ask_for_responses(tmp_path: Path, upstream: Upstream) -> None:
    Script(upstream, *spoken("good day"))
    async with session(tmp_path, upstream, WORDS) as (connection, _):
        await say(connection, TEXT)
        await say(connection, {"type": "response.create"})
        assert deltas(await until(connection, "response.done")) == "good day"


@pytest.mark.parametrize("kind", ["response.audio.delta", "response.output_audio.delta"])
async def test_sound_that_comes_all_the_same_ends_its_response(tmp_path: Path, upstream: Upstream, kind: str) -> None:
    sounds = {"type": kind, "response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0, "delta": BYTES}
    script = Script(upstream, sounds)
    async with session(tmp_path / "a", upstream, WORDS) as (connection, _):
        await say(connection, CREATE)
        events = await until(connection, "response.done")
        assert [one["type"] for one in events] == ["error", "response.done"]
        assert events[0]["error"]["code"] == "sound_unjudged"
    assert script.heard[1]["type"] == "response.cancel"
    async with session(tmp_path / "b", upstream, WORDS + SOUND) as (connection, _):
        await say(connection, CREATE)
        assert await said(connection) == sounds


async def test_what_a_user_says_aloud_is_judged_when_it_is_in_words(tmp_path: Path, upstream: Upstream) -> None:
    """It has been heard by then: its item goes, and so does whatever answers it."""
    begun = spoken("Well, ", "you see", response="r", item="i")[:3]
    script = Script(upstream, *begun, *heard_say("tell me of ", "project falcon"), *heard_say("good day", item="v"))
    async with session(tmp_path, upstream, WORDS.replace("type:", "directions: [input], type:") + SOUND) as (connection, served):
        await say(connection, CREATE)
        events = await until(connection, "error")
        assert events[-1]["error"]["code"] == "guardrail_blocked"
        rest = await until(connection, "response.done")
        assert rest[-1]["response"]["output"] == []
        assert of(rest, "conversation.item.input_audio_transcription.completed")[0]["transcript"] == "good day"
    assert {"conversation.item.delete", "response.cancel"} <= {one["type"] for one in script.heard}
    assert of(script.heard, "conversation.item.delete")[0]["item_id"] == "u"
    assert "project falcon" not in json.dumps(of(events, "conversation.item.input_audio_transcription.completed"))
    assert (await call_of(served)).verdicts == ["words:block"]


async def test_a_transcript_is_rewritten_as_it_comes(tmp_path: Path, upstream: Upstream) -> None:
    turn = {"type": "conversation.item.done", "item": {"id": "u", "type": "message", "role": "user", "content": [
        {"type": "input_audio", "transcript": "tell me of project falcon"}]}}  # fmt: skip
    Script(upstream, *heard_say("tell me of pro", "ject falcon"), turn, done("completed"))
    async with session(tmp_path, upstream, REWRITE.replace("type:", "directions: [input], type:") + SOUND) as (connection, _):
        await say(connection, CREATE)
        events = await until(connection, "response.done")
    assert deltas(events) == "tell me of [internal]" and "falcon" not in json.dumps(events)
