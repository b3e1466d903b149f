"""How a demand is put to a provider that has no place for it, and how a wrong answer is shown to its author."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.providers.codec import Enforcement
from gateway.structured.demand import form_of
from gateway.structured.judge import Wrong

_INSTRUCTIONS = ("system", "developer")
_MOST_TOLD = 5


def fitted(body: Mapping[str, Any], level: Enforcement) -> Mapping[str, Any]:
    """The body as the provider can take it; the same object when it can take it as it is."""
    form = form_of(body)
    changed: dict[str, Any] = {}
    dropped = ""
    if form == "json_schema" and level.schema in ("json", "prompt"):
        schema = (body["response_format"].get("json_schema") or {}).get("schema", {})
        changed["messages"] = _instructed(body["messages"], _with_schema(schema))
        if level.schema == "json":
            changed["response_format"] = {"type": "json_object"}
        else:
            dropped = "response_format"
    elif form == "json_object" and level.json == "prompt":
        changed["messages"] = _instructed(body["messages"], "Answer with one JSON object and nothing else.")
        dropped = "response_format"
    if level.tools == "plain" and any(_strict(tool) for tool in body.get("tools") or ()):
        changed["tools"] = [_plain(tool) if _strict(tool) else tool for tool in body["tools"]]
    if not changed:
        return body
    return {name: value for name, value in {**body, **changed}.items() if name != dropped}


def _with_schema(schema: Any) -> str:
    text = json.dumps(schema, ensure_ascii=False)
    return f"Answer with one JSON value and nothing else, that satisfies this JSON Schema:\n{text}"


def _instructed(messages: Sequence[Any], text: str) -> list[Any]:
    """The messages with one more instruction, inside the first when that is one: some models take only one."""
    first = messages[0] if messages else None
    if (
        isinstance(first, dict)
        and first.get("role") in _INSTRUCTIONS
        and isinstance(first.get("content"), str)
    ):
        return [{**first, "content": f"{first['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _strict(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, dict) else None
    return isinstance(function, dict) and bool(function.get("strict"))


def _plain(tool: dict[str, Any]) -> dict[str, Any]:
    return {**tool, "function": {k: v for k, v in tool["function"].items() if k != "strict"}}


def asking_again(
    body: Mapping[str, Any], message: Mapping[str, Any], wrong: Sequence[Wrong]
) -> dict[str, Any]:
    """The request once more, with the wrong answer and what is wrong with it."""
    said = {name: value for name, value in message.items() if value and name not in ("annotations", "audio")}
    calls = message.get("tool_calls") or []
    turns: list[dict[str, Any]] = []
    if calls or said.get("content"):
        turns.append({"content": None, **said, "role": "assistant"})
    for at, call in enumerate(calls):
        mine = [one for one in wrong if one.call == at]
        text = _told("The arguments break the tool's JSON Schema", mine) if mine else "Not run."
        turns.append({
            "role": "tool", "tool_call_id": str(call.get("id") or ""),
            "content": f"{text}\nCall again with corrected arguments.",
        })  # fmt: skip
    if not calls:
        text = _told("Your answer is not in the form that was asked for", wrong)
        turns.append({
            "role": "user", "content": f"{text}\nAnswer again with the whole corrected JSON and nothing else.",
        })  # fmt: skip
    again = {name: value for name, value in body.items() if name != "n"}
    return {**again, "messages": [*body["messages"], *turns]}


def _told(what: str, wrong: Sequence[Wrong]) -> str:
    return "\n".join([f"{what}:", *(f"- {one.text}" for one in wrong[:_MOST_TOLD])])
