"""What a student's answer is worth beyond its letters: measured when a pair is made, while its texts are here."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from msgspec import Struct

from gateway.context import Exchange
from gateway.guardrails import GuardrailSettings
from gateway.protocol.chat import text_of
from gateway.stages.guarding.request import guards_for
from gateway.stages.structure import Structure
from gateway.texts.masking import find
from optimizer.scorers import SCORERS, grounded, scores

Names = Collection[str]


class Spoken(Struct, frozen=True):
    """Both answers to one call. ``student_usd`` and ``teacher_usd``: what each cost, None when it is unknown."""

    student: str
    teacher: str
    student_usd: float | None = None
    teacher_usd: float | None = None


def minds_manners(name: str, guard: GuardrailSettings) -> bool:
    """Whether a guardrail tells harmful answers: it has a category of moderation."""
    return guard.category is not None and not guard.shadow and guard.reads("output")


class Measuring:
    """Shares the gateway's compiled schemas."""

    def __init__(self, structure: Structure | None = None) -> None:
        self._structure = structure if structure is not None else Structure()

    async def scores(self, exchange: Exchange, spoken: Spoken) -> dict[str, float]:
        """By scorer, for those that the gates rest on and that can be measured on this call. What may take long is
        measured in a thread."""
        names = exchange.runtime.config.promotion.scorers
        if all(name in SCORERS or name == "thrift" for name in names):
            return self.measured(names, exchange, spoken)
        return await asyncio.to_thread(self.measured, names, exchange, spoken)

    def measured(self, names: Names, exchange: Exchange, spoken: Spoken) -> dict[str, float]:
        found = scores(names, spoken.student, spoken.teacher)
        learn = exchange.task.learn if exchange.task else None
        if "schema" in names:
            found["schema"] = float(self._structure.accepts(exchange, spoken.student))
        if "pii_free" in names:
            found["pii_free"] = float(not _leaks(exchange, spoken))
        if "grounded" in names and learn is not None and learn.grounded:
            found["grounded"] = grounded(spoken.student, context_of(exchange))
        for name, value in (
            ("harmless", _harmless(exchange, spoken.student) if "harmless" in names else None),
            ("thrift", _thrift(spoken) if "thrift" in names else None),
            ("embedding", _alike(learn.encoder, spoken) if learn and "embedding" in names else None),
        ):
            if value is not None:
                found[name] = value
        return found


def context_of(exchange: Exchange) -> str:
    """Everything that the request says."""
    return "\n".join(text_of(message) for message in exchange.request.messages)


def _leaks(exchange: Exchange, spoken: Spoken) -> bool:
    """Whether the answer holds personal data that neither the request nor the teacher's answer holds."""
    found = find(spoken.student)
    if not found:
        return False
    known = f"{context_of(exchange)}\n{spoken.teacher}"
    return any(spoken.student[start:end] not in known for start, end, _ in found)


def _harmless(exchange: Exchange, text: str) -> float | None:
    """None when no guardrail of this call tells harmful answers. A guardrail that fails has seen nothing harmless."""
    guards = [guard for name, guard in guards_for(exchange).items() if minds_manners(name, guard)]
    if not guards:
        return None
    try:
        return float(all(guard.check(text, "out").action not in ("flag", "block") for guard in guards))
    except Exception:
        return 0.0


def _thrift(spoken: Spoken) -> float | None:
    """What is saved of the teacher's price, in [0, 1]."""
    if spoken.student_usd is None or not spoken.teacher_usd:
        return None
    return 1.0 - min(1.0, spoken.student_usd / spoken.teacher_usd)


def _alike(encoder: str | None, spoken: Spoken) -> float | None:
    """Cosine of the answers' sentence embeddings, 0 where it is negative; None without an encoder."""
    if encoder is None:
        return None
    from gateway.local_models.encoder import (  # numpy is loaded only where something is encoded
        EncoderRefused,
        likeness,
    )

    try:
        return likeness(encoder, spoken.student, spoken.teacher)
    except EncoderRefused:
        return None
