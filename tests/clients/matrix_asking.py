"""Stock clients of the five APIs, each asked the same and read into the same few words: the columns of the matrix."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import anthropic
import openai
from clients_helpers import google_client
from gateway_server import KEY
from google import genai
from google.genai import types

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@dataclass
class Ask:
    """``thinks``: the client wants thoughts; ``turns``: what was said before, in the client's own shape."""

    text: str = "Bonn and Köln?"
    tools: bool = False
    thinks: bool = False
    stop: str = ""
    before: list[Any] = field(default_factory=list)


@dataclass
class Got:
    """What a client read. ``end`` is stop, length, stop_sequence, calls or filter, as far as the API can say it; ``back``
    are the turns with which the client goes on after it has answered each call."""

    text: str = ""
    thought: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    end: str = ""
    prompt: int = -1
    cached: int = -1
    completion: int = -1
    reasoning: int = -1
    cited: list[str] = field(default_factory=list)
    refusal: str = ""
    id: str = ""
    back: list[Any] = field(default_factory=list)


class Api(Protocol):
    prefix: str

    async def ask(self, model: str, ask: Ask, *, stream: bool) -> Got: ...


class Chat:
    prefix = "chatcmpl-"

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client

    async def ask(self, model: str, ask: Ask, *, stream: bool) -> Got:
        tool = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
        turns: list[Any] = [{"role": "user", "content": ask.text}, *ask.before]
        more: dict[str, Any] = {"tools": [tool]} if ask.tools else {}
        more |= {"reasoning_effort": "low"} if ask.thinks else {}
        more |= {"stop": [ask.stop]} if ask.stop else {}
        if stream:
            async with self._client.chat.completions.stream(
                model=model, messages=turns, stream_options={"include_usage": True}, **more
            ) as events:
                with suppress(openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
                    await events.get_final_completion()
                found: Any = events.current_completion_snapshot
        else:
            found = await self._client.chat.completions.create(model=model, messages=turns, **more)
        (choice,) = found.choices
        message = choice.message
        said = message.model_dump(exclude_none=True)
        results = [
            {"role": "tool", "tool_call_id": one.id, "content": f"sky of {one.id}"}
            for one in message.tool_calls or []
        ]
        usage = found.usage
        return Got(
            text=message.content or "",
            thought=said.get("reasoning_content", ""),
            calls=[(one.id, one.function.name, json.loads(one.function.arguments)) for one in message.tool_calls or []],
            end={"tool_calls": "calls", "content_filter": "filter"}.get(choice.finish_reason, choice.finish_reason),
            prompt=usage.prompt_tokens, cached=usage.prompt_tokens_details.cached_tokens,
            completion=usage.completion_tokens, reasoning=usage.completion_tokens_details.reasoning_tokens,
            cited=[one["url_citation"]["url"] for one in said.get("annotations") or []],
            refusal=message.refusal or "", id=found.id, back=[said, *results],
        )  # fmt: skip


class Responses:
    prefix = "resp_"

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client

    async def ask(self, model: str, ask: Ask, *, stream: bool) -> Got:
        items: list[Any] = [{"role": "user", "content": ask.text}, *ask.before]
        more: dict[str, Any] = {"include": ["reasoning.encrypted_content"]}
        if ask.tools:
            more["tools"] = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
        more |= {"reasoning": {"effort": "low"}} if ask.thinks else {}
        if stream:
            async with self._client.responses.stream(model=model, input=items, store=False, **more) as events:
                last: Any = [one async for one in events][
                    -1
                ]  # the helper itself takes nothing but response.completed
                found: Any = last.response
        else:
            found = await self._client.responses.create(model=model, input=items, store=False, **more)
        data = found.model_dump(exclude_none=True)
        calls = [one for one in data["output"] if one["type"] == "function_call"]
        parts = [part for one in data["output"] if one["type"] == "message" for part in one["content"]]
        thoughts = [
            part["text"] for one in data["output"] if one["type"] == "reasoning" for part in one["summary"]
        ]
        reason = data.get("incomplete_details", {}).get("reason", "")
        end = {"max_output_tokens": "length", "content_filter": "filter"}.get(
            reason, "calls" if calls else "stop"
        )
        results = [
            {"type": "function_call_output", "call_id": one["call_id"], "output": f"sky of {one['call_id']}"}
            for one in calls
        ]
        usage = found.usage
        return Got(
            text=found.output_text, thought="".join(thoughts),
            calls=[(one["call_id"], one["name"], json.loads(one["arguments"])) for one in calls], end=end,
            prompt=usage.input_tokens, cached=usage.input_tokens_details.cached_tokens,
            completion=usage.output_tokens, reasoning=usage.output_tokens_details.reasoning_tokens,
            cited=[note["url"] for part in parts for note in part.get("annotations", ())],
            refusal="".join(part["refusal"] for part in parts if part["type"] == "refusal"), id=found.id,
            back=[*data["output"], *results],
        )  # fmt: skip


class Messages:
    prefix = "msg_"

    def __init__(self, client: anthropic.AsyncAnthropic) -> None:
        self._client = client

    async def ask(self, model: str, ask: Ask, *, stream: bool) -> Got:
        turns: list[Any] = [{"role": "user", "content": ask.text}, *ask.before]
        more: dict[str, Any] = {"tools": [{"name": "weather", "input_schema": SCHEMA}]} if ask.tools else {}
        more |= {"thinking": {"type": "enabled", "budget_tokens": 2048}} if ask.thinks else {}
        more |= {"stop_sequences": [ask.stop]} if ask.stop else {}
        asked: dict[str, Any] = {"model": model, "max_tokens": 8000, "messages": turns, **more}
        if stream:
            async with self._client.messages.stream(**asked) as events:
                found: Any = await events.get_final_message()
        else:
            found = await self._client.messages.create(**asked)
        blocks = [block.model_dump(exclude_none=True) for block in found.content]
        for block in blocks:
            for name in ("parsed_output", "caller"):
                block.pop(name, None)
        calls = [one for one in blocks if one["type"] == "tool_use"]
        ends = {"end_turn": "stop", "max_tokens": "length", "tool_use": "calls", "refusal": "filter"}
        results = [
            {"type": "tool_result", "tool_use_id": one["id"], "content": f"sky of {one['id']}"}
            for one in calls
        ]
        usage = found.usage
        cached = usage.cache_read_input_tokens or 0
        texts = [one for one in blocks if one["type"] == "text"]
        refused = found.stop_reason == "refusal"
        return Got(
            text="" if refused else "".join(one["text"] for one in texts),
            thought="".join(one.get("thinking", "") for one in blocks),
            calls=[(one["id"], one["name"], one["input"]) for one in calls],
            end=ends.get(found.stop_reason, found.stop_reason),
            prompt=usage.input_tokens + cached, cached=cached, completion=usage.output_tokens,
            cited=[note["url"] for one in texts for note in one.get("citations") or () if "url" in note],
            refusal="".join(one["text"] for one in texts) if refused else "", id=found.id,
            back=[{"role": "assistant", "content": blocks}, {"role": "user", "content": results}],
        )  # fmt: skip


class Google:
    prefix = "gen_"

    def __init__(self, client: genai.Client) -> None:
        self._models = client.aio.models

    async def ask(self, model: str, ask: Ask, *, stream: bool) -> Got:
        weather = types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA)
        config = types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[weather])] if ask.tools else None,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            thinking_config=types.ThinkingConfig(thinking_budget=2048, include_thoughts=True)
            if ask.thinks
            else None,
            stop_sequences=[ask.stop] if ask.stop else None,
        )
        turns: list[Any] = [types.Content(role="user", parts=[types.Part(text=ask.text)]), *ask.before]
        if stream:
            found = [
                one
                async for one in await self._models.generate_content_stream(
                    model=model, contents=turns, config=config
                )
            ]
        else:
            found = [await self._models.generate_content(model=model, contents=turns, config=config)]
        candidates = [one.candidates[0] for one in found if one.candidates]
        parts = [part for one in candidates if one.content for part in one.content.parts or []]
        calls = [part.function_call for part in parts if part.function_call]
        last, usage = candidates[-1], found[-1].usage_metadata
        assert usage is not None and last.finish_reason is not None
        grounds = last.grounding_metadata
        results = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=one.id, name=one.name, response={"sky": f"sky of {one.id}"}
                )
            )
            for one in calls
        ]
        ends = {"MAX_TOKENS": "length", "SAFETY": "filter"}
        said = "".join(part.text or "" for part in parts if not part.thought)
        refused = last.finish_reason.value == "SAFETY"
        thoughts = usage.thoughts_token_count or 0
        return Got(
            text="" if refused else said, thought="".join(part.text or "" for part in parts if part.thought),
            calls=[(str(one.id), str(one.name), one.args) for one in calls],
            end=ends.get(last.finish_reason.value, "calls" if calls else "stop"),
            prompt=usage.prompt_token_count or 0, cached=usage.cached_content_token_count or 0,
            completion=(usage.candidates_token_count or 0) + thoughts, reasoning=thoughts,
            cited=[str(one.web.uri) for one in (grounds.grounding_chunks if grounds else None) or [] if one.web],
            refusal=said if refused else "", id=str(found[-1].response_id),
            back=[types.Content(role="model", parts=parts), types.Content(role="user", parts=results)],
        )  # fmt: skip


class Completions:
    prefix = "cmpl-"

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client

    async def ask(self, model: str, ask: Ask, *, stream: bool) -> Got:
        asked: dict[str, Any] = {
            "model": model,
            "prompt": ask.text,
            "max_tokens": 100,
            "stop": ask.stop or None,
        }
        if stream:
            text, end, usage, ids = "", "", None, set()
            async for one in await self._client.completions.create(
                **asked, stream=True, stream_options={"include_usage": True}
            ):
                ids.add(one.id)
                usage = one.usage or usage
                for choice in one.choices:
                    text, end = text + choice.text, choice.finish_reason or end
            (id_,) = ids
        else:
            found = await self._client.completions.create(**asked)
            text, end, usage, id_ = (
                found.choices[0].text,
                found.choices[0].finish_reason,
                found.usage,
                found.id,
            )
        assert usage is not None and usage.prompt_tokens_details and usage.completion_tokens_details
        return Got(
            text=text, end={"content_filter": "filter"}.get(end, end), id=id_,
            prompt=usage.prompt_tokens, cached=usage.prompt_tokens_details.cached_tokens or 0,
            completion=usage.completion_tokens, reasoning=usage.completion_tokens_details.reasoning_tokens or 0,
        )  # fmt: skip


@asynccontextmanager
async def every_api(url: str) -> AsyncIterator[dict[str, Api]]:
    """The clients of the five APIs, by the API's name."""
    async with AsyncExitStack() as stack:
        gpt = await stack.enter_async_context(
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
        )
        claude = await stack.enter_async_context(
            anthropic.AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0)
        )
        google = await stack.enter_async_context(google_client(url))
        yield {
            "chat": Chat(gpt), "responses": Responses(gpt), "messages": Messages(claude), "gemini": Google(google),
            "completions": Completions(gpt),
        }  # fmt: skip
