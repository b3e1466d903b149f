"""What a fine-tuned model that a client named may be asked, and what it may answer: there is no teacher behind it."""

from __future__ import annotations

from gateway import errors
from gateway.context import Exchange
from gateway.providers.codec import failed
from gateway.stages.structure import Structure
from optimizer.routing.eligibility import ineligible
from optimizer.routing.plan import Rung


def check_question(exchange: Exchange, rung: Rung) -> None:
    """Raises BadRequest for what no student can answer."""
    reason = ineligible(exchange.body)
    if reason:
        raise errors.BadRequest(
            f"The model '{rung.candidate.model}' answers one question, in words or in tool calls: {reason}.",
            code="unsupported_request",
        )


def check_answer(exchange: Exchange, rung: Rung, text: str, structure: Structure) -> None:
    """Raises AttemptFailed when the request offers tools and ``text`` is no answer to it: nothing, words that
    ``tool_choice`` forbids, or calls that the tools do not allow."""
    if exchange.body.get("tools") and not (text and structure.accepts(exchange, text)):
        raise failed("invalid", errors.UpstreamFailed(
            f"The model '{rung.candidate.model}' has no answer that the request allows. Offer the tools that it was "
            "trained with, or ask its teacher.",
        ))  # fmt: skip
