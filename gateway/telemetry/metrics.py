"""What Prometheus sees. Labels hold names from the configuration and fixed words, never text or keys of clients."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.concurrency.telling import Ended
from gateway.context import Exchange, Finding
from gateway.control import Control
from gateway.storage.records import CallRecord, PairRecord
from gateway.telemetry.tallies import Buckets, Count, Counter, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)


class _Usual(NamedTuple):
    calls: Count
    latency: Buckets
    overhead: Buckets
    given: Count
    made: Count


class Metrics:
    """Counts finished calls and pairs; :meth:`follow` adds gauges that are read when the page is asked for."""

    def __init__(self, catch_up: Callable[[], None] = lambda: None) -> None:
        """``catch_up`` is called before the page is written."""
        self._catch_up = catch_up
        self._registry = registry = CollectorRegistry()
        self._usual: dict[tuple[str, str, str], _Usual] = {}
        by = ("task", "party")
        self._calls = Counter(
            "understudy_calls", "Finished calls, one for each request of a client.", (*by, "status"), registry=registry
        )  # fmt: skip
        self._latency = Histogram(
            "understudy_latency_seconds", "From request to the answer's end.", by, buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._overhead = Histogram(
            "understudy_overhead_seconds", "What the gateway itself added.", buckets=_OVERHEAD_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._tokens = Counter("understudy_tokens", "Tokens.", (*by, "direction"), registry=registry)
        self._cost = Counter("understudy_cost_usd", "US dollars spent on answers.", by, registry=registry)
        self._saved = Counter(
            "understudy_saved_usd", "What teachers would have cost above what students did.", ("task",),
            registry=registry,
        )  # fmt: skip
        self._unpriced = Counter(
            "understudy_unpriced_calls", "Calls whose price is unknown.", by, registry=registry
        )
        self._escalations = Counter(
            "understudy_escalations", "Calls a student passed on.", ("task",), registry=registry
        )
        self._cache = Counter(
            "understudy_cache_lookups", "Cache look-ups.", ("task", "outcome"), registry=registry
        )
        self._spared = Counter(
            "understudy_cache_saved_usd", "What teachers would have cost for answers from a cache.", ("task",),
            registry=registry,
        )  # fmt: skip
        self._prompt_reads = Counter(
            "understudy_prompt_cache_saved_usd",
            "What providers' prompt caches took off calls that read more than they wrote.",
            ("task",), registry=registry,
        )  # fmt: skip
        self._prompt_writes = Counter(
            "understudy_prompt_cache_writing_usd", "What they put on calls that wrote more.", by[:1], registry=registry
        )
        self._verdicts = Counter(
            "understudy_guardrail_verdicts", "What guardrails said, other than allow.",
            ("guardrail", "action", "direction", "shadow"), registry=registry,
        )  # fmt: skip
        self._pairs = Counter(
            "understudy_pairs", "Answers compared.", ("kind", "answered", "agree"), registry=registry
        )

    def follow(self, control: Control) -> None:
        """Shows the recorder, the students and the policies of ``control`` from now on. Call once."""
        self._registry.register(_Gauges(control))

    def add(self, collector: Collector) -> None:
        """Shows what ``collector`` keeps, too."""
        self._registry.register(collector)

    def finished(self, calls: Sequence[Ended]) -> None:
        """An observer of ended calls."""
        for one in calls:
            self._count(one.exchange, one.record)

    def _count(self, exchange: Exchange, record: CallRecord) -> None:
        task = task_label(exchange, record)
        rung = exchange.answered_by
        party = rung.role if rung is not None else "none"
        usual = self._usual.get((task, party, record.status)) or self._found(task, party, record.status)
        if exchange.turns is None or record.status != "ok":
            usual.calls.inc()
        else:  # the client's request may go on with another turn
            exchange.turns.ended_well(record.id, lambda status: self._calls.labels(task, party, status).inc())
        usual.latency.observe(record.latency_ms / 1000)
        usual.overhead.observe(record.overhead_ms / 1000)
        if exchange.cache:
            self._cache.labels(task, exchange.cache).inc()
        for found in exchange.findings:
            self.found_late(record, found)
        if exchange.replayed:
            self._spared.labels(task).inc(max(0.0, record.teacher_cost_usd or 0.0))
        for attempt in record.attempts:
            if attempt.outcome == "escalated":
                self._escalations.labels(task).inc()
                break
        if rung is None:
            return
        usual.given.inc(record.prompt_tokens)
        usual.made.inc(record.completion_tokens)
        if record.cached_tokens:
            self._tokens.labels(task, party, "cached").inc(record.cached_tokens)
        if record.prompt_cache_usd:
            # A counter only grows: calls that wrote more than they read are counted beside those that saved.
            counter = self._prompt_reads if record.prompt_cache_usd > 0 else self._prompt_writes
            counter.labels(task).inc(abs(record.prompt_cache_usd))
        self._count_money(task, party, record)

    def _found(self, task: str, party: str, status: str) -> _Usual:
        """What every call with these labels adds to, looked up once: nothing stands for tokens that nobody answered."""
        answered = party != "none"
        found = self._usual[task, party, status] = _Usual(
            self._calls.labels(task, party, status), self._latency.labels(task, party), self._overhead.labels(),
            self._tokens.labels(task, party, "input") if answered else Count(),
            self._tokens.labels(task, party, "output") if answered else Count(),
        )  # fmt: skip
        return found

    def found_late(self, record: CallRecord, finding: Finding) -> None:
        """A guardrail found something in a call, perhaps after its end."""
        self._verdicts.labels(finding.guardrail, finding.action, finding.place, _word(finding.shadow)).inc()

    def _count_money(self, task: str, party: str, record: CallRecord) -> None:
        if record.cost_usd is None:
            self._unpriced.labels(task, party).inc()
            return
        self._cost.labels(task, party).inc(record.cost_usd)
        if party == "student" and record.teacher_cost_usd is not None:
            # A counter only grows: a student that costs more than its teacher saves nothing.
            self._saved.labels(task).inc(max(0.0, record.teacher_cost_usd - record.cost_usd))

    def pair(self, pair: object) -> None:
        """A student's and a teacher's answer were compared."""
        if isinstance(pair, PairRecord):
            self._pairs.labels(pair.kind, _word(pair.answered), _word(pair.agree)).inc()

    def collect(self) -> Iterator[Metric]:
        """Everything, as the library's own values."""
        self._catch_up()
        yield from self._registry.collect()

    def render(self) -> bytes:
        """The exposition text (format 0.0.4)."""
        self._catch_up()
        return generate_latest(self._registry)


def task_label(exchange: Exchange, record: CallRecord) -> str:
    """The task's name when the policies know it, so that clients cannot make new label values."""
    if not record.task:
        return "none"
    return record.task if record.task in exchange.runtime.tasks else "other"


def _word(value: bool) -> str:
    return "yes" if value else "no"


class _Gauges(Collector):
    """Numbers that others keep; a source that fails is left out rather than taking the page down."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        recorder = GaugeMetricFamily("understudy_recorder", "The recorder's own counts.", labels=["name"])
        for name, value in self._control.recorder.stats().items():
            recorder.add_metric([name], value)
        yield recorder
        snapshot = self._control.runtime().snapshot
        students = GaugeMetricFamily("understudy_students", "Students by stage.", labels=["stage", "paused"])
        tally = Tally((str(one.stage), _word(one.paused)) for one in snapshot.students)
        for labels, count in tally.items():
            students.add_metric(list(labels), count)
        yield students
        off = GaugeMetricFamily("understudy_students_off", "1 while the one switch keeps every student off.")
        off.add_metric([], float(snapshot.students_off))
        yield off
        problem = self._control.config_status().get("problem", "")
        config = GaugeMetricFamily("understudy_policies_ok", "0 while the newest policies could not be read.")
        config.add_metric([], float(not problem))
        yield config
