"""Scores one sample: its models are asked through the pipeline, its texts compared and embedded in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway import errors
from gateway.client_data.batches import Once
from gateway.context import Principal
from optimizer.graders import (
    Fault,
    Grader,
    LabelModel,
    ModelGrader,
    Multi,
    Outcome,
    Scene,
    ScoreModel,
    Single,
    StringCheck,
    TextSimilarity,
    combined,
    compared,
    failed,
    filled_pair,
    formula_of,
    question,
    verdict,
)

_AT_ONCE = 4
"""Models that one request asks at the same time."""
_SERVER_FAULT = 500


class Grading:
    """One sample. ``ask``: a chat completion through the pipeline, as a call of ``principal``; ``comparing``: how many
    comparisons this process makes at the same time; ``encoder``: its folder."""

    def __init__(
        self, where: Scene, principal: Principal, ask: Once, request_id: str, comparing: asyncio.Semaphore,
        encoder: str | None,
    ) -> None:  # fmt: skip
        self._where, self._principal, self._request_id = where, principal, request_id
        self._ask, self._comparing, self._encoder = ask, comparing, encoder
        self._asking = asyncio.Semaphore(_AT_ONCE)

    async def of(self, grader: Grader) -> tuple[Outcome, Mapping[str, Outcome]]:
        """The outcome, and those of the graders inside. Raises GatewayError for what is the client's to mend."""
        if not isinstance(grader, Multi):
            return await self._single(grader), {}
        try:
            formula = formula_of(grader)
        except Fault as fault:
            return failed(fault), {}  # nobody is asked, and paid, for nothing
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {name: group.create_task(self._single(one)) for name, one in grader.graders.items()}
        except BaseExceptionGroup as problems:
            raise problems.exceptions[0] from None
        parts = {name: task.result() for name, task in tasks.items()}
        return combined(formula, parts), parts

    async def _single(self, grader: Single) -> Outcome:
        try:
            if isinstance(grader, ScoreModel | LabelModel):
                async with self._asking:
                    return await self._asked(grader)
            assert isinstance(grader, StringCheck | TextSimilarity)
            async with self._comparing:
                return Outcome(await asyncio.to_thread(self._compared, grader))
        except Fault as fault:
            return failed(fault)

    def _compared(self, grader: StringCheck | TextSimilarity) -> float:
        if not isinstance(grader, TextSimilarity) or grader.evaluation_metric != "cosine":
            return compared(grader, self._where)
        assert self._encoder is not None
        from gateway.local_models.encoder import (  # numpy is loaded only where something is encoded
            EncoderRefused,
            likeness,
        )

        try:
            return likeness(self._encoder, *filled_pair(grader, self._where))
        except EncoderRefused as problem:
            raise errors.Unavailable(
                "The sentence encoder for 'cosine' cannot be used; the gateway's operator has to look at it.",
                code="encoder_unavailable",
                headers={"x-should-retry": "false"},
                detail=str(problem),
            ) from None

    async def _asked(self, grader: ModelGrader) -> Outcome:
        body = question(grader, self._where)
        try:
            answer = await self._ask(body, self._principal, batch="", request_id=self._request_id)
        except errors.GatewayError as problem:
            if problem.status < _SERVER_FAULT:
                raise
            return _unanswered(problem)
        completion = msgspec.json.decode(answer)
        tokens = _tokens(completion)
        try:
            return Outcome(verdict(grader, completion), tokens=tokens)
        except Fault as fault:
            return failed(fault, tokens)


def _unanswered(problem: errors.GatewayError) -> Outcome:
    """A provider's failure is told in the report: the other graders have their scores all the same."""
    unread = problem.code == "invalid_structured_output"
    fault = failed(Fault("model_grader_parse_error" if unread else "model_grader_server_error", problem.message))
    if isinstance(problem, errors.UpstreamTimeout):
        slow = ("unresponsive_reward_error", problem.message)
        return msgspec.structs.replace(fault, faults=(*fault.faults, slow))
    return fault


def _tokens(completion: Mapping[str, Any]) -> int | None:
    usage = completion.get("usage")
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return total if isinstance(total, int) else None
