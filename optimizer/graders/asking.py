"""Graders that ask a model: the chat request, and what its answer means. The answer is held to a schema and read
strictly: one JSON object with one field, ``result``, and nothing beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from optimizer.graders.faults import Fault
from optimizer.graders.kinds import (
    InputAudio,
    InputImage,
    ModelGrader,
    Part,
    Sampling,
    ScoreModel,
    Turn,
)
from optimizer.graders.templates import LONGEST, Scene, fill
from optimizer.scorers.structured import parsed


def question(grader: ModelGrader, where: Scene) -> dict[str, Any]:
    """The body of the chat completion that is asked for. Raises Fault."""
    messages = [{"role": turn.role, "content": _content(turn, where)} for turn in grader.input]
    if sum(len(str(one["content"])) for one in messages) > LONGEST:
        raise Fault("truncated_observation_error", f"The messages would be longer than {LONGEST} characters.")
    result: dict[str, Any] = {"type": "number"}
    if not isinstance(grader, ScoreModel):
        result = {"type": "string", "enum": grader.labels}
    schema = {
        "type": "object",
        "properties": {"result": result},
        "required": ["result"],
        "additionalProperties": False,
    }
    body: dict[str, Any] = {
        "model": grader.model,
        "messages": messages,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "grade", "strict": True, "schema": schema},
        },
    }
    if isinstance(grader, ScoreModel):
        body |= _sampling(grader.sampling_params)
    return body


def verdict(grader: ModelGrader, completion: Mapping[str, Any]) -> float:
    """The score that a chat completion gives. Raises Fault when it refuses, or does not keep to the form."""
    choice = completion["choices"][0]
    message = choice["message"]
    if message.get("refusal") or choice.get("finish_reason") == "content_filter":
        raise Fault("model_grader_refusal_error", f"'{grader.model}' refused to grade.")
    content = message.get("content")
    value = parsed(content) if isinstance(content, str) else None
    result = value["result"] if isinstance(value, dict) and set(value) == {"result"} else None
    if not isinstance(grader, ScoreModel):
        if not isinstance(result, str) or result not in grader.labels:
            raise _unread(grader, 'one of the labels as {"result": "…"}')
        return float(result in grader.passing_labels)
    low, high = grader.range
    if not isinstance(result, int | float) or isinstance(result, bool):
        raise _unread(grader, 'a number as {"result": …}')
    if not low <= result <= high or not math.isfinite(result):
        raise _unread(grader, f"a number from {low:g} to {high:g}")
    return float(result)


def templates_of(grader: ModelGrader) -> Iterator[str]:
    for turn in grader.input:
        for part in turn.content if isinstance(turn.content, list) else [turn.content]:
            if isinstance(part, InputImage):
                yield part.image_url
            elif not isinstance(part, InputAudio):
                yield part if isinstance(part, str) else part.text


def _unread(grader: ModelGrader, wanted: str) -> Fault:
    return Fault("model_grader_parse_error", f"'{grader.model}' did not answer with {wanted}.")


def _content(turn: Turn, where: Scene) -> str | list[dict[str, Any]]:
    if isinstance(turn.content, str):
        return fill(turn.content, where)
    parts = turn.content if isinstance(turn.content, list) else [turn.content]
    return [_part(part, where) for part in parts]


def _part(part: Part, where: Scene) -> dict[str, Any]:
    if isinstance(part, InputImage):
        image = {"url": fill(part.image_url, where)}
        if part.detail is not None:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}
    if isinstance(part, InputAudio):
        sound = part.input_audio
        return {"type": "input_audio", "input_audio": {"data": sound.data, "format": sound.format}}
    return {"type": "text", "text": fill(part if isinstance(part, str) else part.text, where)}


def _sampling(given: Sampling) -> dict[str, Any]:
    named = {
        "seed": given.seed,
        "temperature": given.temperature,
        "top_p": given.top_p,
        "max_completion_tokens": given.max_completions_tokens,
        "reasoning_effort": given.reasoning_effort,
    }
    return {name: value for name, value in named.items() if value is not None}
