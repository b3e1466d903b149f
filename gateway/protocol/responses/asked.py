"""What of a request of OpenAI's Responses API its response repeats. Pure."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from gateway.protocol.hints import X_SEARCH
from gateway.protocol.mcp import KIND as MCP
from gateway.protocol.mcp import shown
from gateway.protocol.offered import NO_ORIGINS, Origins
from gateway.protocol.responses.request import ResponsesRequest


class Asked(Struct, frozen=True):
    """What of a request its response repeats."""

    response_id: str
    created_at: float
    model: str
    request: ResponsesRequest
    origins: Origins = NO_ORIGINS
    """What calls are told as that chat knows by another name."""

    def shown(self) -> dict[str, Any]:
        asked = self.request
        reasoning = {"effort": None, "summary": None, **(asked.reasoning or {})}
        return {
            "id": self.response_id,
            "object": "response",
            "created_at": int(self.created_at),
            "status": "in_progress",
            "background": bool(asked.background),
            "conversation": {"id": asked.conversation_id} if asked.conversation_id is not None else None,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "max_tool_calls": asked.max_tool_calls,
            "model": self.model,
            "output": [],
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": asked.previous_response_id,
            "prompt": asked.prompt,
            "reasoning": reasoning,
            "safety_identifier": asked.safety_identifier,
            "service_tier": asked.service_tier or "default",
            "store": asked.kept,
            "temperature": 1.0 if asked.temperature is None else asked.temperature,
            "text": {"format": {"type": "text"}, **(asked.text or {})},
            "tool_choice": asked.tool_choice or "auto",
            # xAI's own is left out: OpenAI's clients stumble over a tool that their types do not know
            "tools": [_tool(tool) for tool in asked.tools or [] if tool.get("type") != X_SEARCH],
            "top_logprobs": asked.top_logprobs or 0,
            "top_p": 1.0 if asked.top_p is None else asked.top_p,
            "truncation": asked.truncation or "disabled",
            "usage": None,
            "user": asked.user,
            "metadata": asked.metadata or {},
        }


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") == MCP:
        return shown(tool)
    return {"strict": None, "parameters": None, **tool} if tool.get("type") == "function" else tool
