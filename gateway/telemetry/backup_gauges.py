"""How the copies of the database fare: what ``/metrics`` shows of them, and whether ``/readyz`` mentions them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.storage.backups import read_state
from gateway.storage.home import Home


class BackupGauges(Collector):
    def __init__(self, home: Home, clock: Callable[[], float]) -> None:
        self._home, self._clock = home, clock

    def wrong(self) -> bool:
        """Whether the last copy failed, or none was tried when it should have been."""
        return self._home.embedded and read_state(self._home).overdue(self._clock())

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        """Nothing where no copy was ever tried, as on PostgreSQL."""
        state = read_state(self._home)
        if not state.tried_at:
            return
        well = float(not self.wrong())
        for name, about, value in (
            ("understudy_backup_ok", "1 while the last copy of the database was made and checked.", well),
            ("understudy_backup_time_seconds", "When the last good copy was made (unix time).", state.at),
            ("understudy_backup_bytes", "How large it is.", float(state.size)),
            ("understudy_backup_took_seconds", "How long it took, checks and all.", state.took_s),
        ):
            family = GaugeMetricFamily(name, about)
            family.add_metric([], value)
            yield family
