"""OpenAI's legacy completions: a prompt is one user turn of a chat. Pure."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from gateway.errors import BadRequest

_DEFAULT_TOKENS = 16  # what OpenAI writes when nobody says how much
_MOST_PROMPTS = 128
_PASSED = (
    "model", "n", "stop", "stream", "stream_options", "temperature", "top_p", "seed", "user", "logit_bias",
    "frequency_penalty", "presence_penalty",
)  # fmt: skip
_OWN = frozenset({"prompt", "max_tokens", "echo", "logprobs", "best_of", "suffix"})


class CompletionRequest(Struct, frozen=True):
    """The typed view of ``POST /v1/completions``."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    prompt: Any = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    best_of: Annotated[int, Meta(ge=1, le=20)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    suffix: str | None = None


def chat_bodies(data: dict[str, Any], request: CompletionRequest) -> list[dict[str, Any]]:
    """One chat body for each prompt. Raises BadRequest for what a chat model cannot do."""
    for name, given, reason in (
        ("echo", request.echo, "a chat model answers a prompt and does not repeat it"),
        ("logprobs", request.logprobs is not None, "those of the prompt do not exist for a chat model"),
        ("suffix", request.suffix, "a chat model does not insert text"),
        ("best_of", (request.best_of or 1) > (request.n or 1), "every candidate answer is returned"),
    ):
        if given:
            raise BadRequest(
                f"'{name}' is not supported: {reason}. Use POST /v1/chat/completions, or leave it out.",
                param=name,
                code="unsupported_parameter",
            )
    body = {name: data[name] for name in _PASSED if data.get(name) is not None}
    own = _OWN | body.keys()
    body.update((name, value) for name, value in data.items() if name not in own and value is not None)
    body["max_completion_tokens"] = request.max_tokens or _DEFAULT_TOKENS
    return [{**body, "messages": [{"role": "user", "content": text}]} for text in prompts(request.prompt)]


def prompts(value: Any) -> list[str]:
    """The prompts. Raises BadRequest for token ids, and for nothing at all."""
    found = [value] if isinstance(value, str) else value
    if isinstance(found, list) and found and all(isinstance(text, str) for text in found):
        if len(found) > _MOST_PROMPTS:
            raise BadRequest(f"'prompt' takes at most {_MOST_PROMPTS} texts.", param="prompt")
        return found
    if isinstance(found, list) and found:
        raise BadRequest(
            "'prompt' must be text or a list of texts. Token ids are not supported: they depend on the model.",
            param="prompt",
            code="invalid_type",
        )
    raise BadRequest(
        "Missing required parameter: 'prompt'.", param="prompt", code="missing_required_parameter"
    )


def completion_choice(choice: dict[str, Any], index: int) -> dict[str, Any]:
    """A chat choice, of a completion or of a chunk, as a text choice."""
    said = choice.get("message") or choice.get("delta")
    content = said.get("content") if isinstance(said, dict) else None
    return {
        "text": content if isinstance(content, str) else "",
        "index": index,
        "logprobs": None,
        "finish_reason": choice.get("finish_reason"),
    }


def envelope(call_id: str, created: int, model: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": call_id,
        "object": "text_completion",
        "created": created,
        "model": model,
        "choices": choices,
    }
