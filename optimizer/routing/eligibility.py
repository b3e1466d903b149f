"""Which requests a student may answer at all, whatever its confidence.

A student was certified on single-turn text, answered in words or in calls of the functions that the request
offers. A request that asks for something it does not know goes to the teacher; the reason is written on the call.
(Whether the request *looks like* the certified ones is the fingerprint's business.)
"""

from __future__ import annotations

from collections.abc import Mapping
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

_BLOCKING = ("functions", "stop", "logit_bias", "top_logprobs")


def ineligible(body: Mapping[str, Any], *, max_answer_tokens: int | None = None) -> str:
    """Why no student may answer ``body``; "" when one may.

    ``max_answer_tokens`` is the longest answer the student can give: a smaller token limit would cut the
    teacher's answer, and a student must not be longer than what was allowed.
    """
    for name, value in body.items():
        if name not in HARMLESS and value is not None:
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
    if not _single_turn(body.get("messages")):
        return "the conversation has more than one turn"
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if max_answer_tokens is not None and limit is not None and limit < max_answer_tokens:
        return "the token limit may cut the answer"
    return ""


def _functions(tools: Any) -> bool:
    """Whether ``tools`` is nothing, or plain functions: other kinds act where their provider runs."""
    return not tools or (
        isinstance(tools, list)
        and all(isinstance(tool, dict) and tool.get("type") == "function" for tool in tools)
    )


def _single_turn(messages: Any) -> bool:
    """Author-written turns, then exactly one user turn of text."""
    if not isinstance(messages, list):
        return False
    turns = [turn for turn in messages if turn.get("role") not in ("system", "developer")]
    if len(turns) != 1 or turns[0].get("role") != "user" or messages[-1] is not turns[0]:
        return False
    content = turns[0].get("content")
    return isinstance(content, str) or (
        isinstance(content, list) and all(part.get("type") == "text" for part in content)
    )
