"""How the keys of providers with several of them fare: by place in the policies, never by text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.control import Control
from gateway.resilience.provider_keys import ProviderKeys


class KeyGauges(Collector):
    def __init__(self, keys: ProviderKeys, control: Control) -> None:
        self._keys, self._control = keys, control

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        labels = ["provider", "key"]
        calls = CounterMetricFamily(
            "understudy_provider_key_calls", "Requests by provider key (its place in the policies).",
            labels=[*labels, "outcome"],
        )  # fmt: skip
        active = GaugeMetricFamily(
            "understudy_provider_key_active", "Calls in flight by provider key.", labels=labels
        )
        resting = GaugeMetricFamily(
            "understudy_provider_key_resting", "1 while a provider key is not used.", labels=labels
        )
        for provider, index, state, rests in self._keys.seen(self._control.runtime()):
            who = [provider, str(index)]
            for outcome, count in state.outcomes.items():
                calls.add_metric([*who, outcome], count)
            active.add_metric(who, state.active)
            resting.add_metric(who, float(rests))
        yield from (calls, active, resting)
