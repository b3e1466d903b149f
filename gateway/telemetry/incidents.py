"""Hands what guardrails found in a call to the recorder, with a masked sample."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.concurrency.telling import Ended
from gateway.context import Finding
from gateway.storage.protocols import Recorder
from gateway.storage.records import CallRecord, IncidentRecord

MOST = 20
"""Incidents of one call."""


class Incidents:
    """An observer of ended calls, also of what comes late."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def finished(self, calls: Sequence[Ended]) -> None:
        for one in calls:
            for found in one.exchange.findings[:MOST]:
                late = found.spelled not in one.record.verdicts
                self._recorder.append(_incident(one.record, found, late=late))

    def found_late(self, record: CallRecord, finding: Finding) -> None:
        self._recorder.append(_incident(record, finding, late=True))


def _incident(record: CallRecord, found: Finding, *, late: bool) -> IncidentRecord:
    return IncidentRecord(
        call_id=record.id, at=record.created_at, project=record.project, key_id=record.key_id,
        model_asked=record.model_asked, endpoint=record.endpoint, guardrail=found.guardrail, action=found.action,
        direction=found.place, shadow=found.shadow, sample=found.sample, late=late,
    )  # fmt: skip
