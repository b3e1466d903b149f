"""Which requests a student may answer at all, whatever its confidence.

A student was certified on one user's text, alone or with the functions that were called since and what they gave. It
answers in words or in calls of the functions that the request offers. A request that asks for something it does not
know goes to the teacher; the reason is written on the call.
(Whether the request *looks like* the certified ones is the fingerprint's business.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HARMLESS = frozenset(
    {
        "model", "messages", "stream", "stream_options", "temperature", "top_p", "seed", "user", "metadata",
        "store", "max_tokens", "max_completion_tokens", "safety_identifier", "service_tier", "prompt_cache_key",
        "prompt_cache_retention", "frequency_penalty", "presence_penalty", "parallel_tool_calls",
        "response_format", "tool_choice", "n", "logprobs", "top_logprobs", "tools", "functions", "stop",
        "logit_bias", "modalities", "verbosity", "reasoning_effort",
    }
)  # fmt: skip
"""Parameters whose meaning is known here; every other one belongs to the teacher."""

_AUTHORS = frozenset({"system", "developer"})
_BLOCKING = ("functions", "stop", "logit_bias", "top_logprobs")


def ineligible(body: Mapping[str, Any], *, max_answer_tokens: int | None = None) -> str:
    """Why no student may answer ``body``; "" when one may.

    ``max_answer_tokens`` is the longest answer the student can give: a smaller token limit would cut the
    teacher's answer, and a student must not be longer than what was allowed.
    """
    for name, value in body.items():
        if name not in HARMLESS and value is not None and not _only_shows_thoughts(name, value):
            return f"the parameter '{name}' is unknown to students"
    for name in _BLOCKING:
        if body.get(name):
            return f"'{name}' is set"
    if not _functions(body.get("tools")):
        return "'tools' holds more than functions"
    if body.get("logprobs"):
        return "logprobs were asked for"
    if (body.get("n") or 1) > 1:
        return "more than one answer was asked for"
    modalities = body.get("modalities")
    if modalities and modalities != ["text"]:
        return "the answer is not text only"
    if not _one_question(body.get("messages")):
        return "the conversation has more than one turn"
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if max_answer_tokens is not None and limit is not None and limit < max_answer_tokens:
        return "the token limit may cut the answer"
    return ""


def _only_shows_thoughts(name: str, value: Any) -> bool:
    """Whether a parameter says nothing but how OpenAI is to show thoughts: a student has none."""
    return name == "openai" and isinstance(value, Mapping) and set(value) <= {"reasoning"}


def unanswerable(body: Mapping[str, Any]) -> str:
    """Why no student may ever answer a request that *looks* like ``body``, whatever its parameters; "" when one may.

    Only what is part of the fingerprint is looked at (turns, modality, tools), so what is said of one request of a task
    version is true of all of them.
    """
    if not _looks_like_one_question(body.get("messages")):
        return "the conversation has more than one turn, or holds more than text"
    if body.get("functions"):
        return "'functions' is set"
    return "" if _functions(body.get("tools")) else "'tools' holds more than functions"


def _functions(tools: Any) -> bool:
    """Whether ``tools`` is nothing, or plain functions: other kinds act where their provider runs."""
    return not tools or (
        isinstance(tools, list)
        and all(isinstance(tool, dict) and tool.get("type") == "function" for tool in tools)
    )


def _one_question(messages: Any) -> bool:
    """Author-written turns, then exactly one user turn of text, and after it rounds of calls with their results."""
    if not isinstance(messages, list):
        return False
    start = next((at for at, turn in enumerate(messages) if turn.get("role") not in _AUTHORS), len(messages))
    asked = messages[start:]
    return (
        bool(asked)
        and asked[0].get("role") == "user"
        and _is_text(asked[0].get("content"))
        and _rounds(asked[1:])
    )


def _looks_like_one_question(messages: Any) -> bool:
    """As ``_one_question``, but for what may differ between requests of one look: whether each call has its result."""
    turns = [turn for turn in messages if isinstance(turn, dict)] if isinstance(messages, list) else []
    start = next((at for at, turn in enumerate(turns) if turn.get("role") not in _AUTHORS), len(turns))
    asked = turns[start:]
    if not asked or asked[0].get("role") != "user" or not _is_text(asked[0].get("content")):
        return False
    return all(
        turn.get("role") == "tool" or (turn.get("role") == "assistant" and turn.get("tool_calls"))
        for turn in asked[1:]
    )


def _rounds(turns: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the turns are calls of functions, each round of them with the result of every call, and nothing else."""
    at = 0
    while at < len(turns):
        names = _call_ids(turns[at])
        results = turns[at + 1 : at + 1 + len(names)]
        if not names or sorted(names) != sorted(str(one.get("tool_call_id")) for one in results):
            return False
        if not all(one.get("role") == "tool" and _is_text(one.get("content")) for one in results):
            return False
        at += 1 + len(names)
    return True


def _call_ids(turn: Mapping[str, Any]) -> list[str]:
    """The ids of a turn's calls; [] when it holds anything that is no call of a function, or says more than text."""
    calls, said = turn.get("tool_calls"), turn.get("content")
    if turn.get("role") != "assistant" or not isinstance(calls, list) or not (said is None or _is_text(said)):
        return []
    ids = [
        str(call.get("id")) for call in calls if isinstance(call, dict) and _is_function(call.get("function"))
    ]
    return ids if len(set(ids)) == len(calls) else []


def _is_function(function: Any) -> bool:
    return isinstance(function, dict) and all(
        isinstance(function.get(key), str) for key in ("name", "arguments")
    )


def _is_text(content: Any) -> bool:
    return isinstance(content, str) or (
        isinstance(content, list) and all(part.get("type") == "text" for part in content)
    )
