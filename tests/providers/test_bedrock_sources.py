"""Bedrock: what an answer rests on, both ways, and what else Converse says beside texts and calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bedrock_wire import codec, delta, event, wire
from dialects import CALLED, PIXEL, ROUND, WEATHER, read, told

from gateway.protocol.chat import Usage
from gateway.protocol.messages.request import MessagesRequest, chat_body
from gateway.providers.codec import AttemptFailed

CLAUDE, NOVA = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-pro-v1:0"
FOUND = {"type": "search_result", "source": "https://example.com/a", "title": "A", "content": [{"type": "text", "text": "rain"}],
         "citations": {"enabled": True}}  # fmt: skip
FOUND_WIRE = {"searchResult": {"source": "https://example.com/a", "title": "A", "content": [{"text": "rain"}],
                               "citations": {"enabled": True}}}  # fmt: skip


def from_messages(*content: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A request of Anthropic's own client, in chat form."""
    data = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": list(content)}], **more}
    asked = MessagesRequest("m", data["messages"], 9)
    body = chat_body(data, asked)
    return {name: value for name, value in body.items() if name not in ("model", "max_completion_tokens")}


def test_search_results_and_documents_reach_claude_with_the_wish_to_cite_them() -> None:
    text = {"type": "document", "title": "notes.txt", "context": "mine", "citations": {"enabled": True},
            "source": {"type": "text", "media_type": "text/plain", "data": "It rains."}}  # fmt: skip
    pdf = {"type": "document", "title": "notes.txt", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    body = from_messages(FOUND, text, pdf, {"type": "text", "text": "Weather?"})
    assert wire(body, CLAUDE)["messages"][0]["content"] == [
        FOUND_WIRE,
        {"document": {"format": "txt", "source": {"text": "It rains."}, "name": "notes txt", "context": "mine", "citations": {"enabled": True}}},
        {"document": {"format": "pdf", "source": {"bytes": "JVBERi0="}, "name": "notes txt (2)"}},
        {"text": "Weather?"},
    ]  # fmt: skip
    with pytest.raises(AttemptFailed, match="citations"):
        wire(body, NOVA)


def test_a_tool_may_find_something_or_fail() -> None:
    results = [ROUND[0], CALLED, {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "2 hits"}, {**FOUND}]},
               {"role": "tool", "tool_call_id": "call_2", "content": "down", "is_error": True}]  # fmt: skip
    found = wire({"messages": results, "tools": [WEATHER]}, CLAUDE)["messages"][-1]["content"]
    assert found == [
        {"toolResult": {"toolUseId": "call_1", "content": [{"text": "2 hits"}, FOUND_WIRE]}},
        {"toolResult": {"toolUseId": "call_2", "content": [{"text": "down"}], "status": "error"}},
    ]
    failed = [*results[:2], {"role": "tool", "tool_call_id": "call_1", "content": "down", "is_error": True}]
    told_of = {model: wire({"messages": failed}, model)["messages"][-1]["content"][0]["toolResult"].get("status")
               for model in (NOVA, "meta.llama3-8b-instruct-v1:0")}  # fmt: skip
    assert list(told_of.values()) == ["error", None]


def test_tools_that_were_used_stay_defined_when_a_client_names_none_any_more() -> None:
    tools = wire({"messages": ROUND}, NOVA)["toolConfig"]["tools"]
    assert [one["toolSpec"]["name"] for one in tools] == ["weather"]
    assert "not available" in tools[0]["toolSpec"]["description"]
    assert "toolConfig" not in wire({}, NOVA)


def test_what_is_to_be_kept_for_an_hour_and_tools_that_are_kept() -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "long", **mark}]}],
            "tools": [{**WEATHER, "function": {**WEATHER["function"], **mark}}]}  # fmt: skip
    hour, short = ({"cachePoint": {"type": "default", **more}} for more in ({"ttl": "1h"}, {}))
    for model, point in ((CLAUDE, hour), ("anthropic.claude-3-7-sonnet-20250219-v1:0", short)):
        sent = wire(body, model)
        assert sent["messages"][0]["content"] == [{"text": "long"}, point]
        assert sent["toolConfig"]["tools"][1:] == [point]
    assert len(wire(body, NOVA)["toolConfig"]["tools"]) == 1  # Nova keeps no tools


@pytest.mark.parametrize(
    ("model", "fields"),
    [(CLAUDE, {"top_k": 5}), (NOVA, {"inferenceConfig": {"topK": 5}}), ("meta.llama3-8b-instruct-v1:0", None),
     ("anthropic.claude-opus-5", None)],
)  # fmt: skip
def test_top_k_is_said_in_the_models_own_words(model: str, fields: dict[str, Any] | None) -> None:
    if fields is None:
        with pytest.raises(AttemptFailed) as caught:
            wire({"top_k": 5}, model)
        assert (caught.value.error.param, caught.value.failure.kind) == ("top_k", "unsupported")
    sent = wire({"top_k": 5}, model, drop_params=True)
    assert sent.get("additionalModelRequestFields") == fields and "top_k" not in sent


def test_sound_and_office_documents() -> None:
    sound = {"type": "input_audio", "input_audio": {"format": "wav", "data": "UklGRg=="}}
    sheet = "data:application/vnd.openxmlformats-officedocument.spreadsheetml.sheet;base64,UEs="
    parts = [sound, {"type": "file", "file": {"filename": "a.xlsx", "file_data": sheet}}]
    assert wire({"messages": [{"role": "user", "content": parts}]}, "mistral.voxtral-mini-3b-2507")["messages"][0]["content"] == [
        {"audio": {"format": "wav", "source": {"bytes": "UklGRg=="}}},
        {"document": {"format": "xlsx", "source": {"bytes": "UEs="}, "name": "a xlsx"}},
    ]


# ------------------------------------------------------------------------------------------------ answers
def told_by(title: str, said: str, **location: Any) -> dict[str, Any]:
    return {"title": title, "source": "s", "sourceContent": [{"text": said}], "location": location}


CHARS = told_by("notes", "It rains.", documentChar={"documentIndex": 0, "start": 2, "end": 11})
PAGES = told_by("pdf", "p", documentPage={"documentIndex": 1, "start": 3, "end": 4})
CHUNKS = told_by("chunks", "c", documentChunk={"documentIndex": 2, "start": 0, "end": 1})
RESULT = told_by("A", "rain", searchResultLocation={"searchResultIndex": 0, "start": 0, "end": 1})
PAGE = {"title": "W", "location": {"web": {"url": "https://example.com/w", "domain": "example.com"}}}
CITED = [
    {"start_index": 4, "end_index": 9, "citation": {"type": "char_location", "cited_text": "It rains.", "document_index": 0,
     "start_char_index": 2, "end_char_index": 11, "document_title": "notes", "file_id": None}},
    {"start_index": 4, "end_index": 9, "citation": {"type": "page_location", "cited_text": "p", "document_index": 1,
     "start_page_number": 3, "end_page_number": 4, "document_title": "pdf", "file_id": None}},
    {"start_index": 14, "end_index": 18, "citation": {"type": "content_block_location", "cited_text": "c", "document_index": 2,
     "start_block_index": 0, "end_block_index": 1, "document_title": "chunks", "file_id": None}},
    {"start_index": 14, "end_index": 18, "citation": {"type": "search_result_location", "cited_text": "rain", "search_result_index": 0,
     "start_block_index": 0, "end_block_index": 1, "source": "s", "title": "A"}},
]  # fmt: skip
WEB = {"type": "url_citation", "url_citation": {"start_index": 14, "end_index": 18, "url": "https://example.com/w", "title": "W"}}
USAGE = {"inputTokens": 10, "outputTokens": 7, "totalTokens": 47, "cacheReadInputTokens": 20, "cacheWriteInputTokens": 10,
         "cacheDetails": [{"ttl": "5m", "inputTokens": 4}, {"ttl": "1h", "inputTokens": 6}]}  # fmt: skip
COUNTED = Usage(prompt=40, completion=7, cached=20, written=10, written_hour=6, tier="priority")
MESSAGE = {"role": "assistant", "content": "Hm, rain. And wind", "refusal": None, "annotations": [WEB], "citations": CITED,
           "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]}  # fmt: skip
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [
        {"text": "Hm, "},
        {"citationsContent": {"content": [{"text": "rain."}], "citations": [CHARS, PAGES]}},
        {"toolUse": {"toolUseId": "s", "name": "nova_grounding", "input": {}, "type": "server_tool_use"}},
        {"toolResult": {"toolUseId": "s", "content": [], "type": "nova_grounding_result"}},
        {"text": " And "},
        {"citationsContent": {"content": [{"text": "wi"}, {"text": "nd"}], "citations": [CHUNKS, RESULT, PAGE]}},
        {"image": {"format": "png", "source": {"bytes": PIXEL}}},
    ]}},
    "stopReason": "end_turn", "usage": USAGE, "metrics": {"latencyMs": 1}, "serviceTier": {"type": "priority"},
}  # fmt: skip
STREAM = b"".join([
    event("messageStart", role="assistant"),
    delta(0, text="Hm, "), event("contentBlockStop", contentBlockIndex=0),
    delta(1, text="ra"), delta(1, citation=CHARS), delta(1, text="in."), delta(1, citation=PAGES), event("contentBlockStop", contentBlockIndex=1),
    event("contentBlockStart", contentBlockIndex=2, start={"toolUse": {"toolUseId": "s", "name": "nova_grounding", "type": "server_tool_use"}}),
    delta(2, toolUse={"input": "{}"}), event("contentBlockStop", contentBlockIndex=2),
    event("contentBlockStart", contentBlockIndex=3, start={"toolResult": {"toolUseId": "s"}}),
    delta(3, toolResult=[{"text": "hits"}]), event("contentBlockStop", contentBlockIndex=3),
    delta(4, text=" And "), event("contentBlockStop", contentBlockIndex=4),
    delta(5, text="wind"), *(delta(5, citation=one) for one in (CHUNKS, RESULT, PAGE)), event("contentBlockStop", contentBlockIndex=5),
    event("contentBlockStart", contentBlockIndex=6, start={"image": {"format": "png"}}),
    delta(6, image={"source": {"bytes": PIXEL[:20]}}), delta(6, image={"source": {"bytes": PIXEL[20:]}}),
    event("contentBlockStop", contentBlockIndex=6),
    event("messageStop", stopReason="end_turn"),
    event("metadata", usage=USAGE, metrics={"latencyMs": 1}, serviceTier={"type": "priority"}),
])  # fmt: skip


def test_what_an_answer_rests_on_is_told_as_claude_tells_it_at_home() -> None:
    answer = codec().decode(200, {}, json.dumps(ANSWER).encode(), now=3)
    assert answer.data["choices"][0]["message"] == MESSAGE
    assert (answer.usage, answer.data["service_tier"], answer.text) == (COUNTED, "priority", MESSAGE["content"])


@pytest.mark.parametrize("step", [1, 7, len(STREAM)])
def test_a_stream_says_the_same(step: int) -> None:
    chunks = read(codec().stream(), [STREAM[at : at + step] for at in range(0, len(STREAM), step)])
    assert told(chunks)["choices"][0]["message"] == MESSAGE
    assert chunks[-1].usage == COUNTED and chunks[-1].data["service_tier"] == "priority"


@pytest.mark.parametrize("junk", [{"citation": {}}, {"citation": {"location": {"documentChar": 3}}}, {"image": 3}, {"citation": {"location": {"new": {}}}}])
def test_junk_among_sources_harms_nothing(junk: dict[str, Any]) -> None:
    stream = event("messageStart", role="assistant") + delta(0, text="a") + delta(0, **junk) + event("contentBlockStop", contentBlockIndex=0)
    stream += event("messageStop", stopReason="end_turn") + event("metadata", usage=USAGE)
    assert told(read(codec().stream(), [stream]))["choices"][0]["message"]["content"] == "a"
