"""Events of realtime sessions, GA's and the beta's: no text of a client's is left out, and an answer is the same however
it is cut."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from small_fakes import exchange_of, runtime_of

from gateway.config import Config
from gateway.errors import BadRequest
from gateway.guardrails import Blocklist, Pii
from gateway.judges import Judges
from gateway.stages.guarding.odd import odd_in
from gateway.stages.guarding.request import guards_for
from gateway.stages.guarding.sessions import sound
from gateway.stages.guarding.sessions.client_events import labels_of, prose_of, renewed, with_texts
from gateway.stages.guarding.sessions.hearing import Hearing, Known
from gateway.texts.masking import is_word_field, texts_of

Event = dict[str, Any]
MARK = "not in any order"
ITEMS: list[Event] = [
    {"id": "i", "type": "message", "role": role, "object": "realtime.item", "status": "completed", "phase": "final",
     "content": [{"type": "input_text", "text": "t", "transcript": "s"}, {"type": "item_reference", "id": "x"}]}
    for role in ("user", "system", "assistant", "nobody")
] + [
    {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}", "status": "completed"},
    {"type": "function_call_output", "call_id": "c", "output": "o", "more": ["m"]},
    {"type": "mcp_call", "name": "n", "server_label": "s", "arguments": "{}", "output": "o", "error": {"message": "m"}},
    {"type": "mcp_list_tools", "server_label": "s", "tools": [{"name": "n", "description": "d", "input_schema": {"k": "v"}}]},
    {"type": "mcp_approval_response", "approve": True, "reason": "r"},
    {"content": "c"}, {"role": "user", "content": "c"},
]  # fmt: skip
SETTINGS: Event = {
    "type": "realtime", "model": "m", "instructions": "i", "output_modalities": ["text"], "modalities": ["text"],
    "audio": {"input": {"format": {"type": "audio/pcm"}, "transcription": {"model": "m", "prompt": "p", "language": "en"}},
              "output": {"voice": "v"}},
    "prompt": {"id": "p", "version": "1", "variables": {"a": "b", "c": {"type": "input_text", "text": "t"}}},
    "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object", "properties": {"p": {"title": "t"}}}},
              {"type": "mcp", "server_label": "s", "server_url": "u", "headers": {"h": "opens it"}, "server_description": "d"}, "odd"],
    "tool_choice": {"type": "function", "name": "f"}, "tracing": {"workflow_name": "w"}, "metadata": {"k": "v"},
    "input_audio_transcription": {"model": "m", "prompt": "p"}, "something": ["new"],
}  # fmt: skip
EVENTS: list[Event] = [
    {"type": "session.update", "event_id": "e", "session": SETTINGS},
    {"type": "response.create", "event_id": "e", "response": {**SETTINGS, "input": ITEMS, "conversation": "auto"}},
    {"type": "response.create", "session": SETTINGS, "response": SETTINGS, "item": ITEMS[0]},
    {"type": "response.create", "response": {"input": [*ITEMS, "odd"], "tools": "odd", "tool_choice": "auto", "instructions": ["odd"]}},
    *({"type": "conversation.item.create", "event_id": "e", "previous_item_id": "root", "item": one} for one in ITEMS),
    {"type": "response.cancel", "response_id": "r"},
    {"type": "t", "item": "i", "session": "s", "response": ["r"], "messages": [{"content": "c"}], "tools": ["t"], "event": "e"},
]  # fmt: skip


def marked(value: Any, name: str = "") -> Iterator[Any]:
    """Copies of ``value``, each with the mark in another place."""
    if isinstance(value, str):
        yield MARK
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        for one in marked(value[key]):
            new = copy.copy(value)
            new[key] = one
            yield new
        if isinstance(value, dict):
            yield {**{k: v for k, v in value.items() if k != key}, MARK: value[key]}


def openers(event: Event) -> set[str]:
    """What opens the MCP servers that an event names: no text of anybody's."""
    named = [event[name]["tools"] for name in ("session", "response") if isinstance(event.get(name), dict) and "tools" in event[name]]
    servers = [tool for tools in named for tool in tools if isinstance(tool, dict) and tool.get("type") == "mcp"]
    return {str(value) for one in servers if isinstance(one.get("headers"), dict) for value in one["headers"].values()}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: json.dumps(event)[:60])
def test_no_place_is_left_out(event: Event) -> None:
    count = 0
    for one in marked(event):
        if MARK in openers(one):
            continue
        labels = labels_of(one)
        judged = [*texts_of(prose := prose_of(one)), *(text for _, text in odd_in(prose))]
        judged += [*texts_of(labels), *(text for _, text in odd_in(labels))]
        assert MARK in judged, one
        count += 1
    assert count > 1


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: json.dumps(event)[:60])
def test_every_text_is_changed_where_it_stands(event: Event) -> None:
    prose = prose_of(event)
    changed = with_texts(event, {text: f"new {text}" for text in texts_of(prose)})
    kept = {text for one in labels_of(event).values() for text in texts_of(one)}
    kept |= {value for name, value in event.items() if name.endswith("_id")} | openers(event)
    assert all(text in kept or text.startswith("new ") for text in texts_of(changed))
    assert renewed(prose, prose) == {} and with_texts(event, {}) == event


def test_sound_is_known_wherever_it_stands() -> None:
    long = "A" * 400
    for event in (
        {"type": "input_audio_buffer.append", "audio": long}, {"type": "x", "audio": long}, {"type": "x", "y": [{"audio": "A"}]},
        {"type": "conversation.item.create", "item": {"content": [{"type": "input_audio"}]}},
    ):  # fmt: skip
        assert sound.brings_sound(event)
        assert long not in texts_of(prose_of(event))
    assert not sound.brings_sound({"type": "session.update", "session": SETTINGS})
    assert "secret" in texts_of(prose_of({"type": "x", "audio": "secret"})), "a word is no sound"
    assert is_word_field("type")


def test_who_asks_for_spoken_answers() -> None:
    asked: list[tuple[Any, bool | None]] = [
        ({"output_modalities": ["text"]}, False), ({"modalities": ["text", "audio"]}, True), ({}, None), (None, None), ("x", None),
        ({"output_modalities": []}, None), ({"output_modalities": ["text"], "modalities": ["audio"]}, True),
        ({"output_modalities": "audio"}, None), ({"output_modalities": [["audio"]]}, True),
    ]  # fmt: skip
    for settings, wanted in asked:
        assert sound.wants_sound(settings) is wanted, settings


CONFIG = Config(guardrails={
    "words": Blocklist(phrases=["project falcon"], action="rewrite", replacement="[internal]"),
    "more": Blocklist(phrases=["bad"]), "privacy": Pii(),
})  # fmt: skip
KINDS: list[tuple[str, str, Callable[[str], Event]]] = [
    ("response.output_text", "text", lambda text: {"role": "assistant", "content": [{"type": "output_text", "text": text}]}),
    ("response.function_call_arguments", "arguments", lambda text: {"type": "function_call", "name": "f", "arguments": text}),
    ("response.output_audio_transcript", "transcript", lambda text: {"role": "assistant", "content": [{"transcript": text}]}),
]  # fmt: skip


async def told(pieces: list[str], kind: str, field: str, item: Callable[[str], Event]) -> tuple[str, set[str]]:
    """What the deltas of a response say together, and what its whole texts say, once guardrails have seen it."""
    exchange = exchange_of(runtime_of(CONFIG))
    exchange.placeholders = {"[EMAIL_1]": 'jane "j" <jane@example.org>'}
    hearing = Hearing(exchange, guards_for(exchange), Judges(), Known())
    ids, whole = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}, "".join(pieces)
    events: list[Event] = [
        *({"type": f"{kind}.delta", **ids, "delta": piece} for piece in pieces),
        {"type": f"{kind}.done", **ids, field: whole},
        {"type": "conversation.item.done", "item": item(whole)},
        {"type": "response.done", "response": {"id": "r", "output": [item(whole)]}},
    ]
    leaves = [one for event in events for one in await hearing.push(event, last=event is events[-1])]
    done, added, last = (one for one in leaves if not one["type"].endswith(".delta"))
    deltas = "".join(one["delta"] for one in leaves if one["type"].endswith(".delta"))
    made = [added["item"], last["response"]["output"][0]]
    texts = {text for one in made for text in texts_of(one) if text != "f"}
    return deltas, {done[field], *texts}


@pytest.mark.parametrize(("kind", "field", "item"), KINDS, ids=[kind for kind, _, _ in KINDS])
@pytest.mark.parametrize("seed", range(12))
async def test_an_answer_is_the_same_however_it_is_cut(seed: int, kind: str, field: str, item: Callable[[str], Event]) -> None:
    text = '{"to": "[EMAIL_1]", "badge": "a project  \\u0066alcon or not", "x": "[EMAIL_2] [EMAIL_1]"}'
    if field == "transcript":  # what was spoken is not rewritten
        text = text.replace("project  \\u0066alcon", "project")
    draw = random.Random(seed)
    cuts = sorted(draw.sample(range(1, len(text)), seed * 4))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    deltas, wholes = await told(pieces, kind, field, item)
    assert wholes == {deltas}
    assert "[EMAIL_1]" not in deltas and "falcon" not in deltas and "u0066" not in deltas and "[EMAIL_2]" in deltas
    if field == "arguments":
        assert json.loads(deltas)["to"] == 'jane "j" <jane@example.org>'
    with pytest.raises(BadRequest, match="'more'"):
        await told([*pieces, " it is b", "ad"], kind, field, item)
