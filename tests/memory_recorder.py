"""A recorder that keeps its records in a list."""

from __future__ import annotations

from gateway.storage.records import SpoolRecord


class MemoryRecorder:
    """``records`` holds everything appended, oldest first."""

    def __init__(self) -> None:
        self.records: list[SpoolRecord] = []

    def append(self, record: SpoolRecord) -> None:
        self.records.append(record)

    async def durable(self) -> None:
        """Memory is as durable as it gets: returns at once."""

    def stats(self) -> dict[str, float]:
        return {"written": len(self.records), "text_dropped": 0, "lost": 0, "degraded": 0, "unsynced": 0}

    def close(self) -> None:
        """Keeps the records, so that a test can look at them afterwards."""
