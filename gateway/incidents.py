"""Hands what guardrails found in a call to the recorder, with a masked sample."""

from __future__ import annotations

from gateway.context import Exchange
from gateway.storage.protocols import Recorder
from gateway.storage.records import CallRecord, IncidentRecord

MOST = 20
"""Incidents of one call."""


class Incidents:
    """An observer of ``gateway.stages.record``."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def finished(self, exchange: Exchange, record: CallRecord, text: str) -> None:
        for found in exchange.findings[:MOST]:
            self._recorder.append(IncidentRecord(
                call_id=record.id, at=record.created_at, project=record.project, key_id=record.key_id,
                model_asked=record.model_asked, endpoint=record.endpoint, guardrail=found.guardrail,
                action=found.action, direction=found.place, shadow=found.shadow, sample=found.sample,
            ))  # fmt: skip
