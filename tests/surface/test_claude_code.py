"""What Claude Code says to every model, whatever answers: ids of 150 characters, an effort, thinking as the model sees
fit, threads that its toolkit would like; and the list of models that Anthropic's clients read."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import anthropic
import httpx
import openai
import pytest
from gateway_server import KEY, Gateway, served_over
from scripted import Line, Provider
from surface_helpers import call, say, stream

served = served_over("""
providers:
  first: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
  groq: {{type: openai, base_url: "{url}", profile: groq, api_key: sk-upstream-secret}}
  native: {{type: openai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
  gemini: {{type: gemini, base_url: "{url}", api_key: sk-upstream-secret}}
  cutting: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret, drop_params: true}}
models: {{cutting: {{short: {{max_output: 9000, context_window: 20000}}}}, first: {{short: {{max_output: 9000}}}}}}
policies:
  - name: fits
    constraints: {{fit: true}}
    candidates: [{{provider: first, model: short}}, {{provider: cutting, model: short}}]
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
retries: {{attempts: 1, base_s: 0.01, cap_s: 0.05}}
tasks:
  - {{name: coder, candidates: [{{provider: first, model: m}}]}}
  - {{name: brief, policy: fits}}
""")
USER = '{"device_id":"' + "c3" * 32 + '","account_uuid":"","session_id":"363b4a65-9b70-49e3-afa3-dace21f4934a"}'
DIGEST = hashlib.sha256(USER.encode()).hexdigest()
ASKED: Any = {
    "max_tokens": 16000, "messages": [{"role": "user", "content": "hi"}], "metadata": {"user_id": USER},
    "output_config": {"effort": "high"}, "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
}  # fmt: skip


async def refused(line: Line) -> None:
    await line.answer(400, {"error": {"message": "no", "type": "invalid_request_error"}})


async def sent(claude: anthropic.AsyncAnthropic, upstream: Provider, model: str, **changes: Any) -> Any:
    """What the provider was asked."""
    upstream.behave = refused
    with pytest.raises(anthropic.BadRequestError):
        await claude.beta.messages.create(model=model, **{**ASKED, **changes})
    return upstream.seen[-1].body


@pytest.mark.parametrize("model", ["first/m", "native/gpt-5.1"])
async def test_a_long_id_is_told_as_its_digest(
    claude: anthropic.AsyncAnthropic, upstream: Provider, model: str
) -> None:
    assert (await sent(claude, upstream, model))["user"] == DIGEST
    assert (await sent(claude, upstream, model, metadata={"user_id": "ada@example.com"}))["user"] == "ada@example.com"


async def test_claude_is_told_it_as_it_is(claude: anthropic.AsyncAnthropic, upstream: Provider) -> None:
    assert (await sent(claude, upstream, "claude/claude-opus-4-8"))["metadata"] == {"user_id": USER}


async def test_ids_of_openais_own_clients(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = say({"content": "hi"})
    turns: Any = [{"role": "user", "content": "hi"}]
    await client.chat.completions.create(model="first/m", messages=turns, safety_identifier="x" * 65, user="y" * 64)
    body = upstream.seen[-1].body
    assert body["safety_identifier"] == hashlib.sha256(b"x" * 65).hexdigest() and body["user"] == "y" * 64


async def test_who_does_not_think_is_not_asked_to(claude: anthropic.AsyncAnthropic, upstream: Provider) -> None:
    thoughtless, thinking = "groq/llama-3.3-70b-versatile", "groq/openai/gpt-oss-120b"
    assert "reasoning_effort" not in await sent(claude, upstream, thoughtless)
    assert (await sent(claude, upstream, thinking))["reasoning_effort"] == "high"
    assert (await sent(claude, upstream, "first/m"))["reasoning_effort"] == "high", "nobody knows what answers there"
    assert "thinkingConfig" not in (await sent(claude, upstream, "gemini/gemini-2.0-flash"))["generationConfig"]
    asked = len(upstream.seen)
    budget: Any = {"type": "enabled", "budget_tokens": 2000}
    with pytest.raises(anthropic.BadRequestError, match="does not think"):
        await claude.beta.messages.create(
            model="gemini/gemini-2.0-flash", **{**ASKED, "thinking": budget, "output_config": {}}
        )
    assert len(upstream.seen) == asked, "who demands thought is told that there is none"


async def test_a_toolkit_goes_on_without_threads(claude: anthropic.AsyncAnthropic, upstream: Provider) -> None:
    upstream.script = [
        say({"tool_calls": [call("call_1", "shell", '{"command": "ls"}')]}, "tool_calls"), say({"content": "made.txt"}),
    ]  # fmt: skip

    @anthropic.beta_async_tool
    async def shell(command: str) -> str:
        """Runs a command."""
        return f"ran {command}"

    runner = claude.beta.messages.tool_runner(
        model="coder", max_tokens=100, tools=[shell], messages=[{"role": "user", "content": "list"}]
    )
    last = await runner.until_done()
    assert last.content[0].type == "text" and last.content[0].text == "made.txt"
    assert upstream.seen[-1].body["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "ran ls"}


async def test_a_request_for_a_thread_says_how_to_go_on(served: Gateway, http: httpx.AsyncClient) -> None:
    body = {"model": "coder", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "thread": {"type": "create"}}
    answer = await http.post(f"{served.url}/v1/messages?beta=true", json=body, headers={"x-api-key": KEY})
    told = answer.json()["error"]
    assert answer.status_code == 400 and told["details"] == {"error_code": "thread_unsupported_request"}
    assert told["type"] == "invalid_request_error" and "whole conversation" in told["message"]


async def test_a_streamed_call_of_a_shell_and_its_result(claude: anthropic.AsyncAnthropic, upstream: Provider) -> None:
    pieces = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "Bash", "arguments": ""}},
              {"index": 0, "function": {"arguments": '{"command": '}}, {"index": 0, "function": {"arguments": '"ls"}'}}]  # fmt: skip
    upstream.behave = stream({"content": "Look."}, *({"tool_calls": [one]} for one in pieces), finish="tool_calls")
    tool: Any = {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}},
                 "cache_control": {"type": "ephemeral"}, "eager_input_streaming": True}  # fmt: skip
    asked: Any = {**ASKED, "tools": [tool]}
    async with claude.beta.messages.stream(model="coder", betas=["claude-code-20250219"], **asked) as events:
        answer = await events.get_final_message()
    assert answer.stop_reason == "tool_use" and answer.content[-1].input == {"command": "ls"}  # type: ignore[union-attr]
    upstream.behave = stream({"content": "done"})
    result: Any = {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "call_1", "content": "made.txt", "is_error": False},
        {"type": "text", "text": "<system-reminder>x</system-reminder>", "cache_control": {"type": "ephemeral"}},
    ]}  # fmt: skip
    turns = [*ASKED["messages"], {"role": "assistant", "content": [one.to_dict() for one in answer.content]}, result]
    async with claude.beta.messages.stream(model="coder", **{**asked, "messages": turns}) as events:
        assert (await events.get_final_message()).stop_reason == "end_turn"
    roles = [turn["role"] for turn in upstream.seen[-1].body["messages"]]
    assert roles == ["user", "assistant", "tool", "user"]


async def test_anthropics_client_lists_models(claude: anthropic.AsyncAnthropic, client: openai.AsyncOpenAI) -> None:
    names = [one.id async for one in await client.models.list()]
    found = [one async for one in claude.models.list(limit=7)]
    assert [one.id for one in found] == names, "page by page"
    first = found[0]
    assert (first.type, first.display_name, first.lifecycle) == ("model", "coder", "active")
    assert first.created_at.year == 2025
    page = await claude.models.list(before_id=names[3], limit=2)
    assert [one.id for one in page.data] == names[1:3] and page.has_more
    assert (await claude.models.retrieve("coder")).id == "coder"
    for wrong in ({"limit": 0}, {"limit": 1001}, {"after_id": "nobody"}):
        with pytest.raises(anthropic.BadRequestError):
            await claude.models.list(**wrong)  # type: ignore[arg-type]
    with pytest.raises(anthropic.NotFoundError) as caught:
        await claude.models.retrieve("nobody")
    assert caught.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    stranger = claude.with_options(api_key="sk-us-nobody")
    with pytest.raises(anthropic.AuthenticationError) as refusal:
        await stranger.models.list()
    assert refusal.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]


BASH: Any = {"type": "bash_20250124", "name": "bash", "cache_control": {"type": "ephemeral"}}
EDITOR: Any = {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 9}
PLAIN: Any = {"name": "plain", "input_schema": {"type": "object", "properties": {}}}


async def test_tools_that_claude_has_learnt_reach_it_as_they_are(
    claude: anthropic.AsyncAnthropic, upstream: Provider
) -> None:
    async def calls(line: Line) -> None:
        used = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": "ls"}}
        await line.answer(200, {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [used], "stop_reason": "tool_use",
            "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 2},
        })  # fmt: skip

    upstream.behave = calls
    turns: Any = [{"role": "user", "content": "list"}]
    asked: Any = {"model": "claude/claude-opus-4-8", "max_tokens": 99, "tools": [BASH, PLAIN, EDITOR]}
    answer = await claude.messages.create(messages=turns, tool_choice={"type": "any"}, **asked)
    assert upstream.seen[-1].body["tools"] == [BASH, PLAIN, EDITOR]
    (used,) = answer.content
    assert used.type == "tool_use" and (used.id, used.name, used.input) == ("toolu_1", "bash", {"command": "ls"})
    result: Any = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "made.txt"}]}
    turns += [{"role": "assistant", "content": [used.to_dict()]}, result]
    await claude.messages.create(messages=turns, **asked)
    said = upstream.seen[-1].body["messages"]
    assert said[1]["content"][0]["input"] == {"command": "ls"} and said[2]["content"][0]["tool_use_id"] == "toolu_1"


@pytest.mark.parametrize("model", ["coder", "claude/claude-opus-4-8", "gemini/gemini-2.5-flash"])
async def test_tools_that_its_own_search_found_are_offered(
    claude: anthropic.AsyncAnthropic, upstream: Provider, model: str
) -> None:
    """With ``ENABLE_TOOL_SEARCH``: the search is a tool of its own, and names what it found."""
    used: Any = {"type": "tool_use", "id": "toolu_1", "name": "ToolSearch", "input": {"query": "weather"}}
    found: Any = [{"type": "tool_reference", "tool_name": "mcp__weather__forecast"}]
    turns: Any = [
        {"role": "user", "content": "weather?"}, {"role": "assistant", "content": [used]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": found}]},
    ]  # fmt: skip
    tools: Any = [{**PLAIN, "name": "ToolSearch"}, {**PLAIN, "name": "mcp__weather__forecast", "defer_loading": True}]
    body = json.dumps(await sent(claude, upstream, model, messages=turns, tools=tools))
    assert "The tool 'mcp__weather__forecast' is available now." in body
    assert body.count('"name": "mcp__weather__forecast"') == 1 and "defer_loading" not in body


async def test_others_have_not_learnt_them(claude: anthropic.AsyncAnthropic, upstream: Provider) -> None:
    for model in ("coder", "gemini/gemini-2.5-flash", "native/gpt-5.1"):
        with pytest.raises(anthropic.BadRequestError, match="bash_20250124"):
            await claude.messages.create(
                model=model, max_tokens=99, messages=[{"role": "user", "content": "list"}], tools=[BASH]
            )
    assert not upstream.seen


@pytest.mark.parametrize(("model", "asked"), [("cutting/short", 9000), ("brief", 9000), ("first/short", 16000)])
async def test_a_generous_limit_is_cut_where_the_policy_lets_it(
    claude: anthropic.AsyncAnthropic, upstream: Provider, model: str, asked: int
) -> None:
    for limit in (ASKED["max_tokens"], 100):
        body = await sent(claude, upstream, model, max_tokens=limit)
        assert body["model"] == "short" and min(limit, asked) in (body.get("max_completion_tokens"), body.get("max_tokens"))
