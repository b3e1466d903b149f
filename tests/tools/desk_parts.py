"""An order desk whose teacher calls tools: its messages, its tools, and the teacher itself."""

from __future__ import annotations

import json
import random
from typing import Any

from scripted import COMPLETION, Line, chunk, sse

Calls = list[tuple[str, str]]
"""(tool, arguments as text) of each call; none for an answer in words."""
_ORDER = {"order_id": {"type": "string"}}
_REASONS = {"too_late": "it takes too long", "mistake": "that was a mistake"}


def tool(name: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [
    tool("track", _ORDER, ["order_id"]),
    tool("cancel", {**_ORDER, "reason": {"type": "string", "enum": sorted(_REASONS)}}, ["order_id"]),
    tool("deliver", {**_ORDER, "city": {"type": "string"}, "when": {"type": "string"}}, ["order_id", "city"]),
]


def written(**arguments: Any) -> str:
    """As this teacher writes arguments: compact, nothing escaped."""
    return json.dumps(arguments, separators=(",", ":"), ensure_ascii=False)


def message(rng: random.Random) -> tuple[str, Calls]:
    order = f"A-{rng.randrange(10_000, 99_999)}"
    kind = rng.randrange(7)
    hello = rng.choice(["", "Hi, ", "Dear team, ", "Hello! "])
    if kind < 2:
        return f"{hello}where is my order {order} now?", [("track", written(order_id=order))]
    if kind < 4:
        reason = rng.choice([None, *_REASONS])
        said = f", {_REASONS[reason]}" if reason else ""
        arguments = {"order_id": order} | ({"reason": reason} if reason else {})
        return f"{hello}please cancel {order}{said}.", [("cancel", written(**arguments))]
    if kind == 4:
        city = "".join(rng.choice("aeioulmnrst") for _ in range(6)).title()
        day = f"{rng.randrange(1, 29)} May {rng.randrange(2024, 2030)}"
        when = f"2{day[-3:]}-05-{int(day.split(maxsplit=1)[0]):02}"
        return f"{hello}bring {order} to {city} on {day}.", [
            ("deliver", written(order_id=order, city=city.upper(), when=when))
        ]
    if kind == 5:
        same = written(order_id=order)
        return f"{hello}look where {order} is, then stop it.", [("track", same), ("cancel", same)]
    words = " ".join("".join(rng.choice("abcdefgh") for _ in range(5)) for _ in range(3))
    return f"{hello}what do you think of {words}?", []


def follow_up(rng: random.Random) -> tuple[list[dict[str, Any]], Calls]:
    """A conversation in which the order was tracked, and what this teacher calls then: what is lost is cancelled, what
    has been sent is delivered where the result says, what waits is tracked again under its carrier's number."""
    order, number = f"A-{rng.randrange(10_000, 99_999)}", f"Z{rng.randrange(100_000, 999_999)}"
    hello = rng.choice(["", "Hi, ", "Dear team, ", "Hello! "])
    status = rng.choice(["lost", "sent", "waiting"])
    city = "".join(rng.choice("aeioulmnrst") for _ in range(6)).title()
    result: dict[str, str] = {"status": status} | ({"city": city} if status == "sent" else {"carrier": number})
    call: tuple[str, str] = {
        "lost": ("cancel", written(order_id=order, reason="mistake")),
        "sent": ("deliver", written(order_id=order, city=city.upper())),
        "waiting": ("track", written(order_id=number)),
    }[status]
    tracked = {"id": "call_0", "type": "function", "function": {"name": "track", "arguments": written(order_id=order)}}
    return [
        {"role": "user", "content": f"{hello}where is my order {order} now?"},
        {"role": "assistant", "content": None, "tool_calls": [tracked]},
        {"role": "tool", "tool_call_id": "call_0", "content": json.dumps(result)},
    ], [call]


class Desk:
    """Remembers what it was asked to say; words are answered in words that no two answers share."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)
        self._said: dict[str, Calls] = {}
        self.asked = 0

    def messages(self, count: int) -> list[str]:
        made = dict(message(self._rng) for _ in range(count))
        self._said |= made
        return list(made)

    def calls(self, text: str) -> Calls:
        return self._said[text]

    async def teach(self, line: Line) -> None:
        """The teacher: a behaviour of a scripted provider."""
        self.asked += 1
        text = line.seen.body["messages"][-1]["content"]
        calls = self._said[text]
        content = None if calls else f"About {text[-12:]} I think number {self.asked}."
        wired = [
            {"id": f"call_{self.asked}_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for at, (name, arguments) in enumerate(calls)
        ]
        finish = "tool_calls" if calls else "stop"
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        if line.seen.body.get("stream"):
            deltas: list[dict[str, Any]] = [{"role": "assistant", "content": content}]
            for at, call in enumerate(wired):
                function: dict[str, Any] = call["function"]  # type: ignore[assignment]
                half = len(function["arguments"]) // 2
                deltas.append({"tool_calls": [{**call, "index": at, "function": {**function, "arguments": ""}}]})
                deltas += [
                    {"tool_calls": [{"index": at, "function": {"arguments": part}}]}
                    for part in (function["arguments"][:half], function["arguments"][half:])
                ]
            last = {**chunk({}), "choices": [], "usage": usage}
            await line.stream(sse([*map(chunk, deltas), chunk({}, finish), last]))
            return
        spoken: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if wired:
            spoken["tool_calls"] = wired
        choice = {"index": 0, "message": spoken, "logprobs": None, "finish_reason": finish}
        await line.answer(200, {**COMPLETION, "choices": [choice], "usage": usage})
