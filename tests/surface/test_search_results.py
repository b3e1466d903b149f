"""Search results and files of Anthropic's Files API: Claude gets them as they were written, nobody else gets them at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from gateway_server import KEY, Gateway, gateway
from scripted import Line, Provider
from test_messages_to_claude import POLICIES, USAGE, events, served, upstream

__all__ = ["served", "upstream"]
FOUND: dict[str, Any] = {
    "type": "search_result", "source": "https://docs.example/billing", "title": "Billing",
    "content": [{"type": "text", "text": "Invoices are sent on the first."}, {"type": "text", "text": "VAT is shown."}],
    "citations": {"enabled": True}, "cache_control": {"type": "ephemeral"},
}  # fmt: skip
UNCITED = {name: value for name, value in FOUND.items() if name != "citations"}
HELD: dict[str, Any] = {
    "type": "document", "source": {"type": "file", "file_id": "file_011CNha8iCJcU1wXNR6q4V8w"}, "title": "Terms",
}  # fmt: skip
PLACE = {"type": "search_result_location", "cited_text": "Invoices are sent on the first.", "source": FOUND["source"],
         "title": "Billing", "search_result_index": 0, "start_block_index": 0, "end_block_index": 1}  # fmt: skip
BLOCKS: list[dict[str, Any]] = [{"type": "text", "text": "On the first.", "citations": [PLACE]}]
CALL: Any = {"type": "tool_use", "id": "toolu_1", "name": "search", "input": {"q": "invoices"}}
TOOLS: Any = [{"name": "search", "input_schema": {"type": "object", "properties": {}}}]


def streamed() -> bytes:
    raw = events({"type": "text", "text": "On the first."}, stop="end_turn").decode()
    cited = {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": PLACE}}
    end = "event: content_block_stop\n"
    return raw.replace(end, f"event: content_block_delta\ndata: {json.dumps(cited)}\n\n{end}").encode()


async def answer(line: Line) -> None:
    if line.seen.body.get("stream"):
        await line.stream(streamed(), piece=11)
    else:
        await line.answer(200, {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": BLOCKS,
                                "stop_reason": "end_turn", "stop_sequence": None, "usage": USAGE})  # fmt: skip


def asked(*content: dict[str, Any], model: str = "claude/claude-sonnet-4-5", **more: Any) -> dict[str, Any]:
    turn = {"role": "user", "content": [*content, {"type": "text", "text": "When?"}]}
    return {"model": model, "max_tokens": 900, "messages": [turn], **more}


@pytest.mark.parametrize("stream", [False, True])
async def test_search_results_reach_claude_untouched_and_are_cited(
    claude: anthropic.AsyncAnthropic, upstream: Provider, stream: bool
) -> None:
    upstream.behave = answer
    if stream:
        async with claude.messages.stream(**asked(FOUND, HELD)) as told:
            found = await told.get_final_message()
    else:
        found = await claude.messages.create(**asked(FOUND, HELD))
    assert [one.model_dump() for one in found.content] == BLOCKS
    assert upstream.seen[0].body["messages"][0]["content"] == [FOUND, HELD, {"type": "text", "text": "When?"}]


async def test_search_results_stay_inside_their_tools_result(
    claude: anthropic.AsyncAnthropic, upstream: Provider
) -> None:
    upstream.behave = answer
    result: Any = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "Two:"}, FOUND, UNCITED]}
    turns: Any = [{"role": "user", "content": "When?"}, {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [result]}]
    await claude.messages.create(**{**asked(), "messages": turns, "tools": TOOLS})
    assert upstream.seen[0].body["messages"][2]["content"] == [result]
    for model in ("groq/llama-3.3-70b-versatile", "own/m"):
        with pytest.raises(anthropic.BadRequestError, match=f"search_result.*{model.partition('/')[0]}"):
            await claude.messages.create(**{**asked(model=model), "messages": turns, "tools": TOOLS})
    assert len(upstream.seen) == 1


@pytest.mark.parametrize(("part", "what"), [(UNCITED, "search_result"), (HELD, "Files API")])
async def test_who_is_not_claude_is_not_asked(
    claude: anthropic.AsyncAnthropic, upstream: Provider, part: dict[str, Any], what: str
) -> None:
    for model in ("groq/llama-3.3-70b-versatile", "own/m"):
        with pytest.raises(anthropic.BadRequestError, match=f"{what}.*{model.partition('/')[0]}"):
            await claude.messages.create(**asked(part, model=model))
    assert not upstream.seen


async def test_a_chat_client_may_say_both(served: Gateway, upstream: Provider) -> None:
    upstream.behave = answer
    file = {"type": "file", "file": {"file_id": HELD["source"]["file_id"]}}
    body: Any = [{"role": "user", "content": [FOUND, file, {"type": "text", "text": "When?"}]}]
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        told = await client.chat.completions.create(model="claude/claude-sonnet-4-5", messages=body)
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model="own/m", messages=body)
        own: Any = [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-abc"}}]}]
        with pytest.raises(openai.BadRequestError, match="no file 'file-abc' here"):
            await client.chat.completions.create(model="claude/claude-sonnet-4-5", messages=own)
    sent = upstream.seen[0].body["messages"][0]["content"]
    assert sent[:2] == [FOUND, {"type": "document", "source": HELD["source"]}] and len(upstream.seen) == 1
    cited = told.choices[0].message.model_dump()["citations"]
    assert cited == [{"start_index": 0, "end_index": 13, "citation": PLACE}]
    assert (refused.value.param, refused.value.code) == ("search_result", "unsupported_parameter")


@pytest.mark.parametrize(
    ("wrong", "place"),
    [({"content": "text"}, "content"), ({"content": [{"type": "image"}]}, "content"), ({"title": None}, "title"),
     ({"content": [{"type": "text"}]}, r"content\.0\.text")],
)  # fmt: skip
async def test_a_broken_search_result_is_told_with_its_place(
    claude: anthropic.AsyncAnthropic, wrong: dict[str, Any], place: str
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=rf"messages\.0\.content\.0\.{place}"):
        await claude.messages.create(**asked({**FOUND, **wrong}))


async def test_what_was_found_is_masked_before_claude_sees_it(tmp_path: Path, upstream: Provider) -> None:
    (tmp_path / "guarded").mkdir()
    (tmp_path / "guarded" / "gateway.yaml").write_text(
        POLICIES.format(url=upstream.url, key=KEY) + "guardrails: {pii: {type: pii, action: mask}}\n"
    )
    private = {**FOUND, "content": [{"type": "text", "text": "Write to anna.schmidt@example.com."}]}
    upstream.behave = answer
    async with (
        gateway(tmp_path / "other", tmp_path / "guarded") as made,
        anthropic.AsyncAnthropic(base_url=made.url, api_key=KEY, max_retries=0) as client,
    ):
        await client.messages.create(**asked(private))
    sent = upstream.seen[0].body["messages"][0]["content"][0]
    assert "anna" not in json.dumps(sent) and sent["content"][0]["text"].startswith("Write to [")
    assert {**sent, "content": None} == {**FOUND, "content": None}
