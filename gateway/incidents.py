"""Hands what guardrails found in a call to the recorder, with a masked sample."""

from __future__ import annotations

from gateway.context import Exchange, Finding
from gateway.storage.protocols import Recorder
from gateway.storage.records import CallRecord, IncidentRecord

MOST = 20
"""Incidents of one call."""


class Incidents:
    """An observer of ``gateway.stages.record``, also of what comes late."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def finished(self, exchange: Exchange, record: CallRecord, text: str) -> None:
        for found in exchange.findings[:MOST]:
            self._recorder.append(_incident(record, found, late=found.spelled not in record.verdicts))

    def found_late(self, record: CallRecord, finding: Finding) -> None:
        self._recorder.append(_incident(record, finding, late=True))


def _incident(record: CallRecord, found: Finding, *, late: bool) -> IncidentRecord:
    return IncidentRecord(
        call_id=record.id, at=record.created_at, project=record.project, key_id=record.key_id,
        model_asked=record.model_asked, endpoint=record.endpoint, guardrail=found.guardrail, action=found.action,
        direction=found.place, shadow=found.shadow, sample=found.sample, late=late,
    )  # fmt: skip
