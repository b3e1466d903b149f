"""What may keep a grader from a score, by the names OpenAI's answer has for it."""

from __future__ import annotations

from typing import Literal, get_args

FaultKind = Literal[
    "formula_parse_error", "sample_parse_error", "truncated_observation_error", "unresponsive_reward_error",
    "invalid_variable_error", "other_error", "python_grader_server_error", "python_grader_runtime_error",
    "model_grader_server_error", "model_grader_refusal_error", "model_grader_parse_error",
]  # fmt: skip
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


class Fault(Exception):
    """There is no score. ``message`` is for the client."""

    def __init__(self, kind: FaultKind, message: str) -> None:
        super().__init__(message)
        self.kind: FaultKind = kind
        self.message = message
