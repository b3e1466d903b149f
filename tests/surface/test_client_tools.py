"""OpenAI's tools that a client runs with its own hands (shells, patches, a computer): to OpenAI and Azure as they were
written, to everybody else as functions, and back as OpenAI tells them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway, gateway, served_over
from openai.types.responses import Response, ResponseStreamEvent
from openai_items import answers, asked, spoken
from scripted import Provider
from sdk_types import strictly
from surface_helpers import call, say, stream, tool_delta

from gateway.storage.records import CallRecord

POLICIES = """
providers:
  openai: {{type: openai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  azure: {{type: azure, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  chat: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
  google: {{type: gemini, base_url: "{url}", api_key: sk-upstream-secret}}
  xai: {{type: openai, profile: xai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
prices: {{openai: {{gpt-5: {{input: 1.0, output: 2.0, as_of: "2026-11-30", source: test}}}}}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
"""
served = served_over(POLICIES)

SHELL: Any = {"type": "shell", "environment": {"type": "local"}}
LOCAL: Any = {"type": "local_shell"}
PATCH: Any = {"type": "apply_patch"}
SCREEN: Any = {"type": "computer_use_preview", "display_width": 800, "display_height": 600, "environment": "browser"}
OPERATION = {"type": "update_file", "path": "a.py", "diff": "@@\n-x\n+y\n"}
ACTION = {"commands": ["ls", "pwd"], "max_output_length": 99, "timeout_ms": 5}
CLICK = {"type": "click", "button": "left", "x": 1, "y": 2}
WARNING = {"id": "sc_1", "code": "malicious_instructions", "message": "careful"}
EXEC = {"type": "exec", "command": ["ls", "-l"], "env": {"A": "1"}, "working_directory": "/tmp"}
RAN = [{"stdout": "a.py", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]
CASES: dict[str, tuple[Any, Any, Any]] = {
    "shell": (
        SHELL, {"type": "shell_call", "id": "sh_up", "call_id": "c1", "status": "completed", "action": ACTION},
        {"type": "shell_call_output", "call_id": "c1", "output": RAN, "max_output_length": 99},
    ),
    "local_shell": (
        LOCAL, {"type": "local_shell_call", "id": "lsh_up", "call_id": "c1", "status": "completed", "action": EXEC},
        {"type": "local_shell_call_output", "id": "c1", "output": '{"stdout": "a.py"}'},
    ),
    "apply_patch": (
        PATCH, {"type": "apply_patch_call", "id": "apc_up", "call_id": "c1", "status": "completed", "operation": OPERATION},
        {"type": "apply_patch_call_output", "call_id": "c1", "status": "failed", "output": "no such file"},
    ),
    "computer": (
        SCREEN, {"type": "computer_call", "id": "cu_up", "call_id": "c1", "status": "completed", "action": CLICK,
                 "pending_safety_checks": [WARNING]},
        {"type": "computer_call_output", "call_id": "c1", "acknowledged_safety_checks": [WARNING],
         "output": {"type": "computer_screenshot", "image_url": "data:image/png;base64,iVBORw0KGgo="}},
    ),
}  # fmt: skip


def but_id(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "id" and value is not None}


def message(text: str) -> Any:
    return {"role": "user", "content": text}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("provider", ["openai", "azure"])
async def test_openai_and_azure_are_told_them_as_they_were_written(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, provider: str, kind: str, streamed: bool
) -> None:
    tool, called, output = CASES[kind]
    upstream.behave = answers(called)
    ask: Any = {"model": f"{provider}/gpt-5", "input": "do it", "tools": [tool]}
    answer = await asked(client, ask, stream=streamed)
    assert upstream.seen[-1].body["tools"] == [tool]
    (item,) = answer.output
    assert but_id(item.to_dict()) == but_id(called)
    assert answer.to_dict()["tools"] == [tool]

    upstream.behave = answers(spoken("Done."))
    goes_on: list[Any] = [
        {**ask, "previous_response_id": answer.id, "input": [output]},
        {**ask, "input": [message("do it"), item.to_dict(), output]},
        {**ask, "tools": [], "previous_response_id": answer.id, "input": [output]},
    ]
    for one in goes_on:
        again = await client.responses.create(**one)
        assert again.output_text == "Done."
        said, asks, came = upstream.seen[-1].body["input"]
        assert said["role"] == "user"
        assert but_id(asks) == but_id(called) and asks["id"].startswith(called["id"].split("_")[0])
        assert came == {"call_id": "c1", **but_id(output)}
    listed = await client.responses.input_items.list(again.id)
    assert listed.data[0].type == output["type"]
    costs = [one.cost_usd for one in served.records() if isinstance(one, CallRecord)]
    assert costs == [pytest.approx(120e-6) if provider == "openai" else None] * 4


async def test_a_choice_of_one(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = answers(CASES["shell"][1])
    function: Any = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}
    ask: Any = {"model": "openai/gpt-5", "input": "x", "tools": [function, SHELL, PATCH, SCREEN]}
    choices: list[Any] = [
        {"type": "shell"}, {"type": "apply_patch"}, {"type": "computer_use_preview"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "shell"}, {"type": "function", "name": "f"}]},
    ]  # fmt: skip
    for choice in choices:
        await client.responses.create(**ask, tool_choice=choice)
        assert upstream.seen[-1].body["tool_choice"] == choice
        assert upstream.seen[-1].body["tools"] == ask["tools"]
    with pytest.raises(openai.BadRequestError, match="tool_choice"):
        await client.responses.create(model="openai/gpt-5", input="x", tools=[PATCH], tool_choice={"type": "shell"})


# ---------------------------------------------------------------- elsewhere
ARGUMENTS: dict[str, Any] = {"shell": ACTION, "local_shell": {k: v for k, v in EXEC.items() if k != "type"}, "apply_patch": OPERATION}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", ARGUMENTS)
async def test_others_are_offered_functions_and_clients_are_told_items(
    client: openai.AsyncOpenAI, http: httpx.AsyncClient, upstream: Provider, kind: str, streamed: bool
) -> None:
    tool, called, output = CASES[kind]
    arguments = json.dumps(ARGUMENTS[kind])
    ask: Any = {"model": "chat/m", "input": "do it", "tools": [tool]}
    if streamed:
        upstream.behave = stream(
            {"content": "I do."}, tool_delta(0, "", "c1", kind), tool_delta(0, arguments[:9]), tool_delta(0, arguments[9:]),
            finish="tool_calls",
        )  # fmt: skip
        answer = await http.post("/v1/responses", json={**ask, "stream": True}, headers={"authorization": f"Bearer {KEY}"})
        events = [strictly(ResponseStreamEvent, line[6:], beyond=frozenset({"store"})) for line in answer.text.splitlines() if line.startswith("data: ")]
        told = events[-1].response
        commands = [one.command for one in events if one.type == "response.shell_call_command.done"]
        assert commands == (ACTION["commands"] if kind == "shell" else [])
        assert [one.sequence_number for one in events] == list(range(len(events)))
        assert told.output[0].content[0].text == "I do."
        item = told.output[1]
    else:
        upstream.behave = say({"tool_calls": [call("c1", kind, arguments)]}, "tool_calls")
        raw = await client.responses.with_raw_response.create(**ask)
        strictly(Response, raw.text, beyond=frozenset({"store"}))
        told = raw.parse()
        (item,) = told.output
    assert but_id(item.to_dict()) == but_id(called)
    (function,) = upstream.seen[-1].body["tools"]
    assert function["function"]["name"] == kind and function["function"]["description"]
    assert "openai" not in upstream.seen[-1].body

    upstream.behave = say({"content": "Done."})
    again = await client.responses.create(**{**ask, "previous_response_id": told.id, "input": [output]})
    assert again.output_text == "Done."
    asks, came = upstream.seen[-1].body["messages"][1:]
    (one,) = asks["tool_calls"]
    assert one["function"]["name"] == kind and json.loads(one["function"]["arguments"]) == ARGUMENTS[kind]
    assert came["role"] == "tool" and came["tool_call_id"] == "c1"
    for word in ("a.py",) if kind != "apply_patch" else ("failed", "no such file"):
        assert word in came["content"]


@pytest.mark.parametrize("provider", ["claude/claude-sonnet-4-5", "google/gemini-2.5-flash", "xai/grok-4.7"])
async def test_every_dialect_knows_them_as_functions(client: openai.AsyncOpenAI, upstream: Provider, provider: str) -> None:
    with pytest.raises(openai.APIStatusError):
        await client.responses.create(model=provider, input="x", tools=[SHELL, PATCH, LOCAL])  # nobody answers sense here
    sent, tries = json.dumps(upstream.seen[-1].body["tools"]), len(upstream.seen)
    assert all(f'"{name}"' in sent for name in ("shell", "apply_patch", "local_shell"))
    with pytest.raises(openai.BadRequestError, match="'computer' is OpenAI's alone"):
        await client.responses.create(model=provider, input="x", tools=[SCREEN])
    _, called, output = CASES["computer"]
    with pytest.raises(openai.BadRequestError, match="'computer' is OpenAI's alone"):
        await client.responses.create(model=provider, input=[message("x"), called, output])
    assert len(upstream.seen) == tries


JUNK: list[tuple[str, str, dict[str, Any]]] = [
    ("shell", '{"commands": "ls"}', {"commands": ["ls"], "max_output_length": None, "timeout_ms": None}),
    ("shell", '{"cmd": 3}', {"commands": [], "max_output_length": None, "timeout_ms": None}),
    ("shell", "[1]", {"commands": [], "max_output_length": None, "timeout_ms": None}),
    ("local_shell", '{"command": [1, "ls"], "env": 3}', {"type": "exec", "command": ["ls"], "env": {}}),
    ("apply_patch", '{"type": "rename", "path": 3}', {"type": "update_file", "path": "3", "diff": ""}),
    ("apply_patch", '{"type": "delete_file", "path": "a", "diff": "x"}', {"type": "delete_file", "path": "a"}),
]


async def test_what_a_model_wrote_otherwise_fits_the_clients_types(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    for name, arguments, told in JUNK:
        upstream.behave = say({"tool_calls": [call("c1", name, arguments)]}, "tool_calls")
        raw = await client.responses.with_raw_response.create(model="chat/m", input="x", tools=[{"type": name}])  # type: ignore[list-item,misc]
        strictly(Response, raw.text, beyond=frozenset({"store"}))
        item = json.loads(raw.text)["output"][0]
        assert item["action" if name != "apply_patch" else "operation"] == told


async def test_one_that_was_cut_is_not_complete(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = say({"tool_calls": [call("c1", "shell", '{"commands": ["rm -r')]}, "length")
    answer = await client.responses.create(model="chat/m", input="x", tools=[SHELL])
    item = answer.output[0]
    assert answer.status == "incomplete" and item.type == "shell_call"
    assert (item.status, item.action.commands) == ("incomplete", [])


async def test_junk_in_the_fields_that_carry_them_is_passed_over(http: httpx.AsyncClient, upstream: Provider) -> None:
    upstream.behave = answers(spoken("ok"))
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    turns: Any = [message("x"), {"role": "assistant", "content": None, "tool_calls": [call("c", "f", "{}")]},
                  {"role": "tool", "tool_call_id": "c", "content": "y"}]  # fmt: skip
    for junk in ({"client_tools": {"f": {}}, "client_calls": {"c": []}}, {"client_tools": 3, "client_calls": {"c": "g"}}):
        ask = {"model": "openai/gpt-5", "messages": turns, "tools": tools, "openai": junk}
        answer = await http.post("/v1/chat/completions", json=ask)
        assert answer.status_code == 200
        assert upstream.seen[-1].body["tools"][0]["name"] == "f"
        assert [one["type"] for one in upstream.seen[-1].body["input"]][1:] == ["function_call", "function_call_output"]


async def test_an_answer_to_a_call_that_nobody_made(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    for _, _, output in CASES.values():
        with pytest.raises(openai.BadRequestError, match="No tool call found"):
            await client.responses.create(model="openai/gpt-5", input=[output])
    assert not upstream.seen


async def test_a_conversation_and_a_reference_hold_them(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    tool, called, output = CASES["apply_patch"]
    upstream.behave = answers(called)
    talk = await client.conversations.create()
    ask: Any = {"model": "openai/gpt-5", "tools": [tool], "conversation": talk.id}
    first = await client.responses.create(**ask, input="do it")
    upstream.behave = answers(spoken("Done."))
    await client.responses.create(**ask, input=[output])
    kinds = [item["type"] for item in upstream.seen[-1].body["input"]]
    assert kinds == ["message", "apply_patch_call", "apply_patch_call_output"]
    kept = await client.conversations.items.list(talk.id, order="asc")
    assert [one.type for one in kept.data] == [*kinds, "message"]
    named: Any = {"type": "item_reference", "id": first.output[0].id}
    await client.responses.create(model="openai/gpt-5", tools=[tool], input=[message("do it"), named, output])
    assert but_id(upstream.seen[-1].body["input"][1]) == but_id(called)


async def test_guardrails_read_what_is_run_and_what_came_of_it(tmp_path: Path, upstream: Provider) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(POLICIES.format(url=upstream.url, key=KEY) + "guardrails: {pii: {type: pii, action: mask}}\n")
    address = "ada.lovelace@example.com"
    output = {**CASES["shell"][2], "output": [{**RAN[0], "stdout": f'to "{address}"'}]}
    async with gateway(tmp_path, folder) as made, openai.AsyncOpenAI(
        base_url=made.base_url, api_key=KEY, max_retries=0
    ) as client:
        for model in ("openai/gpt-5", "chat/m"):
            upstream.behave = answers(CASES["shell"][1]) if model != "chat/m" else say({"tool_calls": [call("c1", "shell", json.dumps(ACTION))]}, "tool_calls")
            answer = await client.responses.create(model=model, input=f"mail {address}", tools=[SHELL])
            assert answer.output[0].type == "shell_call"
            await client.responses.create(model=model, previous_response_id=answer.id, input=[output], tools=[SHELL])
            sent = json.dumps(upstream.seen[-1].body)
            assert address not in sent
        masked = upstream.seen[0].body["input"][0]["content"][0]["text"].removeprefix("mail ")
        assert masked != address
        run = {**CASES["shell"][1], "action": {"commands": [f"mail {masked}"]}}
        upstream.behave = answers(run)
        answer = await client.responses.create(model="openai/gpt-5", input=f"mail {address}", tools=[SHELL])
        assert answer.output[0].to_dict()["action"] == {"commands": [f"mail {address}"], "max_output_length": None, "timeout_ms": None}
        came = upstream.seen[1].body["input"][-1]
        assert came["output"][0]["outcome"] == RAN[0]["outcome"] and came["output"][0]["stdout"].startswith('to "')
