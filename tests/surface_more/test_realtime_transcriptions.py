"""What the user says is put into words by another model, at a price of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_realtime import USAGE, Upstream, at, call_of, house, upstream
from test_realtime_keys import PRICED, ends, keyed
from websockets.asyncio.server import ServerConnection

__all__ = ["upstream"]
Event = dict[str, Any]
TOKENS = {
    "type": "tokens", "total_tokens": 110, "input_tokens": 100, "output_tokens": 10,
    "input_token_details": {"audio_tokens": 90, "text_tokens": 10},
}  # fmt: skip
SECONDS = {"type": "duration", "seconds": 4.2}
HEARD = 10 * 2.5e-6 + 90 * 2.5e-6 + 10 * 10e-6
"""What TOKENS cost at gpt-4o-transcribe."""
GA = {"type": "realtime", "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}
BETA = {"input_audio_transcription": {"model": "gpt-4o-transcribe"}}


def heard(usage: Any) -> Event:
    return {
        "type": "conversation.item.input_audio_transcription.completed", "event_id": "e1", "item_id": "u",
        "content_index": 0, "transcript": "good day", "usage": usage,
    }  # fmt: skip


def answered() -> Event:
    return {"type": "response.done", "event_id": "e2", "response": {"id": "r", "output": [], "usage": USAGE}}


def saying(*events: Event) -> Any:
    async def say(connection: ServerConnection) -> None:
        for event in events:
            await connection.send(json.dumps(event))
        await connection.wait_closed()

    return say


async def session(tmp: Path, upstream: Upstream, *events: Event) -> Any:
    """The record of a session in which a provider says ``events``, and what its client heard."""
    upstream.behave = saying(*events)
    async with house(tmp, upstream) as served:
        async with at(served) as connection:
            assert [json.loads(await connection.recv()) for _ in events] == list(events)
        return await call_of(served)


@pytest.mark.parametrize("settings", [GA, BETA], ids=["ga", "beta"])
async def test_words_put_down_are_counted_and_priced_by_their_own_model(
    tmp_path: Path, upstream: Upstream, settings: Event
) -> None:
    begun = {"type": "session.updated", "event_id": "e0", "session": settings}
    call = await session(tmp_path, upstream, begun, answered(), heard(TOKENS))
    assert (call.prompt_tokens, call.completion_tokens) == (120, 20)
    assert call.cost_usd == pytest.approx(PRICED["first/m"] + HEARD)


async def test_without_a_response_only_the_words_are_paid(tmp_path: Path, upstream: Upstream) -> None:
    begun = {"type": "session.created", "event_id": "e0", "session": GA}
    call = await session(tmp_path, upstream, begun, heard(TOKENS), heard(TOKENS))
    assert call.cost_usd == pytest.approx(2 * HEARD)


WHISPER = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
JUNK: list[Any] = [-1, 0, True, "4", None, 1e9]


async def test_seconds_of_sound_cost_what_a_minute_does(tmp_path: Path, upstream: Upstream) -> None:
    begun = {"type": "session.updated", "event_id": "e0", "session": WHISPER}
    call = await session(tmp_path, upstream, begun, answered(), heard(SECONDS), heard(SECONDS))
    assert call.cost_usd == pytest.approx(PRICED["first/m"] + 2 * 4.2 / 60 * 0.006)


@pytest.mark.parametrize("seconds", JUNK)
async def test_seconds_that_are_none_are_no_known_cost(tmp_path: Path, upstream: Upstream, seconds: Any) -> None:
    begun = {"type": "session.updated", "event_id": "e0", "session": WHISPER}
    call = await session(tmp_path, upstream, begun, heard({"type": "duration", "seconds": seconds}))
    assert call.cost_usd is None


UNKNOWN: list[tuple[Event, Any]] = [
    (WHISPER, TOKENS),
    (GA, SECONDS),
    (GA, None),
    ({"audio": {"input": {"transcription": {"model": "nobody-prices-this"}}}}, TOKENS),
    ({"audio": 3}, TOKENS),
    ({"audio": {"input": None}, "input_audio_transcription": {"model": 3}}, {"type": "tokens"}),
]


@pytest.mark.parametrize(("settings", "usage"), UNKNOWN, ids=["tokens of who is paid by the minute", "seconds", "unsaid", "model", "nobody", "junk"])
async def test_what_has_no_known_price_leaves_the_cost_unknown(
    tmp_path: Path, upstream: Upstream, settings: Event, usage: Any
) -> None:
    begun = {"type": "session.updated", "event_id": "e0", "session": settings}
    call = await session(tmp_path, upstream, begun, answered(), heard(usage))
    assert call.cost_usd is None and call.status == "ok"


@pytest.mark.parametrize(("usage", "code"), [(TOKENS, "insufficient_quota"), (None, "unknown_price")])
async def test_a_budget_pays_for_words_while_the_session_lasts(
    tmp_path: Path, upstream: Upstream, usage: Any, code: str
) -> None:
    upstream.behave = saying({"type": "session.updated", "event_id": "e0", "session": GA}, heard(usage))
    async with keyed(tmp_path, upstream, budget_usd_day=HEARD / 2) as (served, key, _), at(served, key=key) as connection:
        assert (await ends(connection))["code"] == code
