"""Answers of compatible vendors where they are not quite OpenAI's: brought into OpenAI's shape, in place."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.protocol.lists import dicts
from gateway.providers.responses.xai_items import ticks
from gateway.providers.translate_answer import count, url_citation

_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_OTHERWISE = {
    "": None, "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop", "STOP": "stop",
    "model_length": "length", "max_tokens": "length", "MAX_TOKENS": "length", "tool_use": "tool_calls",
}  # fmt: skip
"""Why an answer ended, where a vendor has a word of its own: agents go by OpenAI's, and some clients know no other."""
BROKEN_OFF = {"insufficient_system_resource": 503, "error": 500}
"""Why an answer was given up before its end, as DeepSeek, Mistral and OpenRouter tell it, and the status for that."""
_MARK = re.compile(r"\[(\d{1,3})\]")


_CHOICE = {
    part: frozenset({"index", "finish_reason", "logprobs", part}) for part in ("message", "delta")
}
_SPOKEN = {
    "message": frozenset({"role", "content", "refusal", "annotations"}),
    "delta": frozenset({"role", "content", "refusal"}),
}


def usual(data: dict[str, Any], part: str) -> bool:
    """Whether an answer or a chunk is one choice of plain text, written as OpenAI does: most are, and there is nothing
    to mend in those."""
    choices, usage = data.get("choices"), data.get("usage")
    if type(choices) is not list or len(choices) != 1 or type(choice := choices[0]) is not dict:
        return False
    told = choice.get(part)
    if type(told) is not dict or not _SPOKEN[part].issuperset(told) or not _CHOICE[part].issuperset(choice):
        return False
    content, reason = told.get("content"), choice.get("finish_reason")
    said = type(content) is str or (content is None and ("content" in told or part == "delta"))
    ends = reason is None or (type(reason) is str and reason in _REASONS)
    if type(usage) is dict:
        thoughts = usage.get("completion_tokens_details")
        known = "prompt_cache_hit_tokens" not in usage and (
            not thoughts or (type(thoughts) is dict and not thoughts.get("reasoning_tokens"))
        )
    else:
        known = usage is None and "x_groq" not in data
    return said and ends and known


def mend(data: dict[str, Any], part: str) -> None:
    """One answer (``part`` is "message") or one chunk ("delta").

    Thoughts are called ``reasoning_content`` whatever the vendor calls them; content that is a list of parts becomes
    its text; usage is where and what OpenAI says it is; the stop sequence that was met is ``stop_reason``; a chunk has
    a list of choices, and a reason or none.
    """
    if data.get("choices") is None:
        data["choices"] = []
    for choice in dicts(data["choices"]):
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason not in _REASONS:
            choice["finish_reason"] = _OTHERWISE.get(reason, reason)
        told = choice.get(part)
        if isinstance(told, dict):
            _spoken(told)
            if part == "delta":
                choice.pop("message", None)  # all that was said so far, once more with every chunk
            else:
                _identified(told)
        if "matched_stop" in choice:  # SGLang's; a number is a token of the model's own
            met = choice.pop("matched_stop")
            if isinstance(met, str):
                choice["stop_reason"] = met
    usage = data.get("usage")
    if usage is None:
        usage = _map(data.get("x_groq")).get("usage")
        if usage is not None:
            data["usage"] = usage
    if isinstance(usage, dict):
        _counted(usage)


def _spoken(told: dict[str, Any]) -> None:
    content = told.get("content")
    if isinstance(content, list):
        thoughts, texts = [], []
        for piece in dicts(content):
            if piece.get("type") == "thinking":
                inner = piece.get("thinking")
                thoughts += (
                    [inner]
                    if isinstance(inner, str)
                    else [str(one.get("text") or "") for one in dicts(inner)]
                )
            elif isinstance(piece.get("text"), str):
                texts.append(piece["text"])
        told["content"] = "".join(texts)
        if any(thoughts):
            told["reasoning_content"] = "".join(thoughts)
    if "reasoning" in told and (told["reasoning"] is None or isinstance(told["reasoning"], str)):
        thought = told.pop("reasoning")
        if thought:
            told.setdefault("reasoning_content", thought)


def _identified(message: dict[str, Any]) -> None:
    """A call without an id could not be answered, and one whose arguments are no JSON text could not be read."""
    message.setdefault("content", None)
    for call in dicts(message.get("tool_calls")):
        if not call.get("id"):
            call["id"] = new_call_id()
        call.setdefault("type", "function")
        if isinstance(function := call.get("function"), dict):
            function["arguments"] = _written(function.get("arguments")) or "{}"


def _written(arguments: Any) -> str:
    """Arguments as the text that OpenAI's clients expect: some servers send the object itself, some null or nothing."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else msgspec.json.encode(arguments).decode()


def _counted(usage: dict[str, Any]) -> None:
    """Cached tokens in OpenAI's place, thoughts inside the completion: where the total says that a vendor counts them
    beside it, they are added, or they would cost nothing."""
    hits = count(usage.get("prompt_cache_hit_tokens"))
    if hits and not _map(usage.get("prompt_tokens_details")).get("cached_tokens"):
        usage["prompt_tokens_details"] = {**_map(usage.get("prompt_tokens_details")), "cached_tokens": hits}
    thought = count(_map(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    prompt, completion = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    if thought and count(usage.get("total_tokens")) == prompt + completion + thought:
        usage["completion_tokens"] = completion + thought


def told_cost(usage: Any) -> float | None:
    """US dollars that a vendor says a call costs: OpenRouter as ``cost`` (for somebody's own key its fee alone, and
    what the key pays beside it), Perplexity as its ``total_cost``, xAI in ticks. None when it says nothing."""
    if "cost_in_usd_ticks" in _map(usage):
        return ticks(_map(usage))
    told = _map(usage).get("cost")
    cost = told.get("total_cost") if isinstance(told, dict) else told
    if not isinstance(cost, int | float) or isinstance(cost, bool) or not 0 <= cost < 1e6:
        return None
    if not _map(usage).get("is_byok"):
        return float(cost)
    beside = _map(_map(usage).get("cost_details")).get("upstream_inference_cost")
    return float(cost + beside) if isinstance(beside, int | float) and 0 <= beside < 1e6 else None


def new_call_id() -> str:
    return "call_" + secrets.token_hex(12)


class CallIndexes:
    """Which call a streamed delta belongs to, for one stream. OpenAI counts calls from 0; some vendors count all of
    them as 0 and tell them apart by id, leave the index out, or give no id. Every delta of a function has a text of
    arguments, which clients put together as they come, and together they are JSON: of a call without arguments some
    vendors send none. Id, type and name stand in its first delta alone."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[int, str]] = {}
        self._next: dict[int, int] = {}
        self._silent: dict[int, list[int]] = {}
        """By choice, the functions whose arguments are still empty."""
        self._unnamed: dict[tuple[int, int], dict[str, Any]] = {}
        """What was told of calls before their names."""

    def mend(self, data: dict[str, Any]) -> None:
        for choice in dicts(data.get("choices")):
            delta, place = _map(choice.get("delta")), count(choice.get("index"))
            if delta.get("tool_calls"):
                calls = dicts(delta.pop("tool_calls"))
                told = [call for at, call in enumerate(calls) if self._one(place, at, call)]
                if told:
                    delta["tool_calls"] = told
            if self._silent and choice.get("finish_reason") in ("tool_calls", "stop"):
                self._end(choice)

    def _end(self, choice: dict[str, Any]) -> None:
        silent = self._silent.pop(count(choice.get("index")), [])
        empty = [{"index": index, "function": {"arguments": "{}"}} for index in silent]
        if empty:
            delta = _map(choice.get("delta"))
            choice["delta"] = {**delta, "tool_calls": [*dicts(delta.get("tool_calls")), *empty]}

    def _one(self, place: int, at: int, call: dict[str, Any]) -> bool:
        """Whether a delta is told now. Clients that add deltas up would repeat an id or a name that comes again, and
        some cannot begin a call without its name."""
        told = call.get("index")
        key = (place, told if isinstance(told, int) else at)
        given = call["id"] if isinstance(call.get("id"), str) else ""
        function = call["function"] if isinstance(call.get("function"), dict) else None
        named = bool(function and function.get("name"))
        known = self._known.get(key)
        if known is None or (named and given and given != known[1]):
            if function is not None and not self._may_begin(key, call, function):
                return False
            known = self._known[key] = self._begun(place, call)
        elif function is not None:
            for name in ("id", "type"):
                call.pop(name, None)
            function.pop("name", None)
        call["index"] = known[0]
        if function is not None:
            self._said(place, known[0], function)
        return True

    def _may_begin(self, key: tuple[int, int], call: dict[str, Any], function: dict[str, Any]) -> bool:
        """Puts what was told before its name into a call that has it; keeps what has none yet."""
        before = self._unnamed.pop(key, {})
        function["arguments"] = before.get("arguments", "") + _written(function.get("arguments"))
        call["id"] = call.get("id") or before.get("id")
        if function.get("name"):
            return True
        self._unnamed[key] = {"arguments": function["arguments"], "id": call["id"]}
        return False

    def _begun(self, place: int, call: dict[str, Any]) -> tuple[int, str]:
        index = self._next.get(place, 0)
        self._next[place] = index + 1
        if not isinstance(call.get("id"), str) or not call["id"]:
            call["id"] = new_call_id()
        if not call.get("type"):
            call["type"] = "custom" if "custom" in call else "function"
        if "function" in call:
            self._silent.setdefault(place, []).append(index)
        return index, call["id"]

    def _said(self, place: int, index: int, function: dict[str, Any]) -> None:
        text = function["arguments"] = _written(function.get("arguments"))
        silent = self._silent.get(place)
        if silent and index in silent and text.strip():
            silent.remove(index)


class Called:
    """Choices with calls end with ``tool_calls``, which agents act on, though some vendors say ``stop``. Where a call
    was demanded, OpenAI says ``stop`` itself."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self._demanded = asked.get("tool_choice") not in (None, "auto", "none")
        self._choices: set[int] = set()

    def mend(self, data: dict[str, Any], part: str) -> None:
        for choice in dicts(data.get("choices")):
            place = count(choice.get("index"))
            if _map(choice.get(part)).get("tool_calls"):
                self._choices.add(place)
            if choice.get("finish_reason") == "stop" and place in self._choices and not self._demanded:
                choice["finish_reason"] = "tool_calls"


class Sources:
    """The pages that an answer names by number, as ``url_citation`` annotations where the numbers stand."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._pages: list[tuple[str, str]] = []

    def whole(self, data: dict[str, Any]) -> None:
        self._heard(data)
        for choice in dicts(data.get("choices")):
            message = _map(choice.get("message"))
            found = self._annotations(message.get("content") or "")
            if message and found and not message.get("annotations"):
                message["annotations"] = found

    def chunk(self, data: dict[str, Any]) -> None:
        """The annotations travel with the last delta."""
        self._heard(data)
        for choice in dicts(data.get("choices")):
            delta = _map(choice.get("delta"))
            if isinstance(delta.get("content"), str):
                self._texts.append(delta["content"])
            if choice.get("finish_reason") and "delta" in choice:
                found = self._annotations("".join(self._texts))
                if found:
                    delta["annotations"] = found

    def _heard(self, data: dict[str, Any]) -> None:
        pages = [(str(one["url"]), str(one.get("title") or one["url"])) for one in dicts(data.get("search_results"))
                 if isinstance(one.get("url"), str)]  # fmt: skip
        cited = data.get("citations")
        bare = [(one, one) for one in cited if isinstance(one, str)] if isinstance(cited, list) else []
        self._pages = pages or bare or self._pages

    def _annotations(self, text: str) -> list[dict[str, Any]]:
        marks = [(mark, int(mark.group(1)) - 1) for mark in _MARK.finditer(text)]
        found = [
            url_citation(mark.start(), mark.end(), *self._pages[at])
            for mark, at in marks
            if 0 <= at < len(self._pages)
        ]
        return found or [url_citation(0, len(text), url, title) for url, title in self._pages]


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
