"""What a request in chat form must be, whatever API it came by."""

from __future__ import annotations

from typing import Any

from gateway import errors
from gateway.protocol.body import decode_object
from gateway.protocol.chat import ChatRequest

_STEERING = frozenset(
    {"api_base", "base_url", "api_key", "api_version", "custom_llm_provider", "extra_headers", "headers"}
)
_MOST_MESSAGES = 10_000
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


def decoded(body: bytes) -> dict[str, Any]:
    """A body as a map. Raises BadRequest."""
    data = decode_object(body)
    messages = data.get("messages")
    if isinstance(messages, list) and len(messages) > _MOST_MESSAGES:
        raise errors.BadRequest(
            f"Invalid 'messages': array too long. Expected at most {_MOST_MESSAGES} messages, but got "
            f"{len(messages)}.",
            param="messages",
            code="array_above_max_length",
        )
    return data


def check(data: dict[str, Any], request: ChatRequest) -> None:
    """What the types cannot say. Raises BadRequest as OpenAI does."""
    refuse_steering(data)
    if not request.messages:
        raise errors.BadRequest(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array.",
            param="messages",
            code="empty_array",
        )
    for position, message in enumerate(request.messages):
        if message.role not in _ROLES:
            raise errors.BadRequest(
                f"Invalid value: '{message.role[:40]}'. Supported values are: 'system', 'developer', 'assistant', "
                "'user', 'tool' and 'function'.",
                param=f"messages[{position}].role",
                code="invalid_value",
            )
    if request.stream_options is not None and not request.streamed:
        raise errors.BadRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    for key, value in (request.metadata or {}).items():
        if len(key) > 64 or len(value) > 512 or len(request.metadata or {}) > 16:
            raise errors.BadRequest(
                "'metadata' takes at most 16 pairs, keys of at most 64 and values of at most 512 characters.",
                param="metadata",
                code="invalid_metadata",
            )


def refuse_steering(data: dict[str, Any]) -> None:
    """Raises BadRequest for a parameter that would send the call, or our credentials, somewhere else."""
    if _STEERING.isdisjoint(data):
        return
    name = min(_STEERING & data.keys())
    raise errors.BadRequest(
        f"The parameter '{name}' would steer the gateway and is not accepted. Remove it.",
        param=name,
        code="unsupported_parameter",
    )
