"""A fine-tuned model that calls tools and goes on with what they gave, named by a stock client."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import openai
import pytest
from test_jobs import ended, uploaded

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))
from desk_parts import TOOLS, follow_up, message

_SYSTEM: Any = {"role": "system", "content": "You work at an order desk."}


def _wired(calls: list[tuple[str, str]]) -> dict[str, Any]:
    made = [
        {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for at, (name, arguments) in enumerate(calls)
    ]
    return {"role": "assistant", "content": None, "tool_calls": made}


def _rows(count: int) -> bytes:
    rng = random.Random(3)
    lines = []
    while len(lines) < count:
        if len(lines) % 2:
            turns, calls = follow_up(rng)
        else:
            text, calls = message(rng)
            turns = [{"role": "user", "content": text}]
        if calls:
            lines.append(json.dumps({"messages": [_SYSTEM, *turns, _wired(calls)], "tools": TOOLS}))
    return "\n".join(lines).encode()


async def test_it_calls_tools_and_goes_on_with_what_they_gave(client: openai.AsyncOpenAI, processes: Any) -> None:
    broken = _rows(20).replace(b'\\"order_id\\"', b'\\"order\\"')
    with processes("trainer.worker", "trainer.engines.classifier"):
        bad = await client.fine_tuning.jobs.create(model="auto", training_file=await uploaded(client, broken))
        good = await client.fine_tuning.jobs.create(model="auto", training_file=await uploaded(client, _rows(160)))
        failed, job = await ended(client, bad.id), await ended(client, good.id)
        assert "line 1: its tool calls do not fit the schemas" in failed.error.message
        assert (job.status, job.error) == ("succeeded", None)
        await _asked(client, job.fine_tuned_model)


async def _asked(client: openai.AsyncOpenAI, model: str) -> None:
    rng = random.Random(8)
    same = 0
    for number in range(20):
        turns, calls = follow_up(rng)
        if number % 2:
            text, calls = message(rng)
            turns = [{"role": "user", "content": text}]
        if not calls:
            continue
        async with client.chat.completions.stream(
            model=model, messages=[_SYSTEM, *turns], tools=TOOLS,  # type: ignore[arg-type,list-item]
        ) as events:  # fmt: skip
            choice = (await events.get_final_completion()).choices[0]
        assert choice.finish_reason == "tool_calls"
        same += [(one.function.name, one.function.arguments) for one in choice.message.tool_calls or ()] == calls
    assert same >= 14
    track: Any = [_SYSTEM, {"role": "user", "content": "where is my order A-12345 now?"}]
    whole = await client.chat.completions.create(model=model, messages=track, tools=TOOLS)  # type: ignore[arg-type]
    (call,) = whole.choices[0].message.tool_calls or ()
    assert (call.type, call.function.name, call.id[:5]) == ("function", "track", "call_")  # type: ignore[union-attr]
    for more in ({"tools": TOOLS[1:]}, {"tools": TOOLS, "tool_choice": "none"}):
        with pytest.raises(openai.InternalServerError, match="no answer that the request allows") as problem:
            await client.chat.completions.create(model=model, messages=track, **more)  # type: ignore[call-overload]
        assert problem.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(openai.BadRequestError, match="more than one turn"):
        await client.chat.completions.create(
            model=model, messages=[*track, {"role": "assistant", "content": "?"}, track[-1]], tools=TOOLS,  # type: ignore[arg-type]
        )  # fmt: skip
