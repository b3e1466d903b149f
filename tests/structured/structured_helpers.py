"""Providers of every dialect without strict schemas, and a script of what they say."""

from __future__ import annotations

import json
from typing import Any

from scripted import COMPLETION, Behaviour, Line, chunk, sse

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
FORM: Any = {"type": "json_schema", "json_schema": {"name": "trip", "strict": True, "schema": SCHEMA}}
TOOL: Any = {"type": "function", "function": {"name": "book", "strict": True, "parameters": SCHEMA}}
RIGHT, WRONG = '{"city":"Bonn","days":[1,2]}', '{"city":"Bonn","days":[1,"two"]}'
MODELS = {
    "deepseek": "deepseek-chat", "together": "some/model", "perplexity": "sonar", "anthropic": "claude-3-5-haiku",
    "gemini": "gemini-2.5-flash", "bedrock": "anthropic.claude-3-haiku-20240307-v1:0", "cohere": "command-a",
}  # fmt: skip
POLICIES = """
providers:
  strict: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret,
           traits: {{structured: strict, json_mode: strict, strict_tools: strict}}}}
  own: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
  deepseek: {{type: openai, profile: deepseek, base_url: "{url}", api_key: sk-upstream-secret}}
  together: {{type: openai, profile: together, base_url: "{url}", api_key: sk-upstream-secret}}
  perplexity: {{type: openai, profile: perplexity, base_url: "{url}", api_key: sk-upstream-secret}}
  anthropic: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret,
              models: [{{match: "claude-3-*", structured: false}}]}}
  gemini: {{type: gemini, base_url: "{url}", api_key: sk-upstream-secret}}
  bedrock: {{type: bedrock, base_url: "{url}", access_key_id: AKID, secret_access_key: sk-upstream-secret,
            models: [{{match: "*claude-3-*", structured: false}}]}}
  cohere: {{type: cohere, base_url: "{url}", api_key: sk-upstream-secret}}
prices:
  together: {{m: {{input: 1.0, output: 10.0}}}}
models: {{own: {{known: {{capabilities: [json_object, json_schema]}}}}}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
retries: {{attempts: 2, base_s: 0.01, cap_s: 0.05}}
guardrails: {{pii: {{type: pii}}}}
"""
ROUTING = """
tasks:
  - {name: alone, candidates: [{provider: together, model: m}], guardrails: [pii]}
  - {name: two, candidates: [{provider: together, model: m}, {provider: strict, model: m}]}
  - {name: loyal, fallback_on: [failed], candidates: [{provider: together, model: m}, {provider: strict, model: m}]}
  - {name: passed, policy: passing}
  - {name: unrepaired, structured: {repair: false}, candidates: [{provider: together, model: m}]}
  - {name: always, structured: {enforce: always}, candidates: [{provider: together, model: m}]}
  - {name: never, structured: {enforce: never}, candidates: [{provider: deepseek, model: m}]}
policies:
  - {name: passing, structured: {on_stream: pass}, candidates: [{provider: together, model: m}]}
"""


def openai_answer(text: str, *, finish: str = "stop", **message: Any) -> dict[str, Any]:
    made = {"role": "assistant", "content": text, "refusal": None, **message}
    choice = {"index": 0, "message": made, "logprobs": None, "finish_reason": finish}
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    return {**COMPLETION, "choices": [choice], "usage": usage}


def answer_for(path: str, text: str) -> dict[str, Any]:
    """``text`` as the provider at ``path`` says it."""
    if path.endswith("/messages"):
        return {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn", "usage": {"input_tokens": 10, "output_tokens": 5}}  # fmt: skip
    if "generateContent" in path:
        return {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}],
                "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5}, "responseId": "r"}  # fmt: skip
    if path.endswith("/converse"):
        return {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": "end_turn",
                "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}}  # fmt: skip
    if path.endswith("/chat"):
        return {"id": "c", "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": [{"type": "text", "text": text}]},
                "usage": {"tokens": {"input_tokens": 10, "output_tokens": 5}}}  # fmt: skip
    return openai_answer(text)


def calls_for(path: str, arguments: str) -> dict[str, Any]:
    """A call of ``book`` as the provider at ``path`` makes it."""
    answer, value = answer_for(path, ""), json.loads(arguments)
    if path.endswith("/messages"):
        return {**answer, "content": [{"type": "tool_use", "id": "t1", "name": "book", "input": value}], "stop_reason": "tool_use"}
    if "generateContent" in path:
        part = {"functionCall": {"name": "book", "args": value}}
        return {**answer, "candidates": [{**answer["candidates"][0], "content": {"role": "model", "parts": [part]}}]}
    if path.endswith("/converse"):
        used = {"toolUse": {"toolUseId": "t1", "name": "book", "input": value}}
        return {**answer, "output": {"message": {"role": "assistant", "content": [used]}}, "stopReason": "tool_use"}
    call = {"id": "t1", "type": "function", "function": {"name": "book", "arguments": arguments}}
    if path.endswith("/chat"):
        return {**answer, "finish_reason": "TOOL_CALL", "message": {"role": "assistant", "tool_calls": [call]}}
    return openai_answer("", finish="tool_calls", tool_calls=[call])


def says(*texts: str) -> Behaviour:
    """One text after the other; streamed when asked so."""
    left = list(texts)

    async def speak(line: Line) -> None:
        text = left.pop(0)
        if isinstance(line.seen.body, dict) and line.seen.body.get("stream") and line.seen.path.endswith("/completions"):
            half = len(text) // 2
            usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
            chunks = [chunk({"role": "assistant", "content": text[:half]}), chunk({"content": text[half:]}), chunk({}, "stop")]
            await line.stream(sse([*chunks, {**chunk({}), "choices": [], "usage": usage}]))
        else:
            await line.answer(200, answer_for(line.seen.path, text))

    return speak


def does(*arguments: str) -> Behaviour:
    left = list(arguments)

    async def act(line: Line) -> None:
        await line.answer(200, calls_for(line.seen.path, left.pop(0)))

    return act


