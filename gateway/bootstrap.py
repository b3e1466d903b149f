"""All wiring, nothing else: the one file that knows every room."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from litestar import Litestar
from litestar.types import ControllerRouterHandler

from gateway.access import admin_key
from gateway.access.keys import secrets_of
from gateway.access.second_factor import VARIABLE, SecondFactor, second_factor_of
from gateway.api.admin.caches import cache_routes
from gateway.api.admin.costs import costs
from gateway.api.admin.discovered import discovered_route
from gateway.api.admin.erasures import erasure_routes
from gateway.api.admin.explain import explain_routes
from gateway.api.admin.imports import import_route
from gateway.api.admin.incidents import incidents
from gateway.api.admin.routes import admin_routes
from gateway.api.admin.savings import savings
from gateway.api.admin.watched import watched_route
from gateway.api.azure import azure_routes
from gateway.api.chat import chat_lane
from gateway.api.dialects import dialect_routes, line_endpoints
from gateway.api.feedback import feedback_route
from gateway.api.gemini.models import keyed
from gateway.api.health import health_routes
from gateway.api.http import Authenticator, known_by_now
from gateway.api.ingress import new_id
from gateway.api.models import model_routes
from gateway.api.runs import run_routes
from gateway.api.stored.routes import stored_routes
from gateway.app import build_app
from gateway.caching.refreshing import Refresher
from gateway.caching.repeats import Repeats
from gateway.caching.semantic import Semantic
from gateway.caching.shortcuts import Shortcuts, given
from gateway.client_data.client_state import ClientStates
from gateway.client_data.data_side import DataSide
from gateway.concurrency.awake import Awake
from gateway.concurrency.telling import Telling
from gateway.config import Config
from gateway.context import Principal
from gateway.forgetting import Forgetting
from gateway.judges import Judges
from gateway.judges.helpers import helpers_of
from gateway.judges.models import GuardModels
from gateway.judges.process import GuardProcess, GuardsCannotStart
from gateway.live import Live
from gateway.metering.meter import Meter
from gateway.money.accounting import Accountant
from gateway.pipeline import Handler, Stage, fold
from gateway.policy.files import PolicyWatcher, load
from gateway.resilience.breakers import Breakers
from gateway.resilience.gate import Gate
from gateway.resilience.health_checks import HealthChecks
from gateway.resilience.pressure import Pressure
from gateway.resilience.provider_keys import ProviderKeys
from gateway.retrieval.enclosed_documents import EnclosedDocuments
from gateway.routing.observations import Observations
from gateway.schemas.cache import Schemas
from gateway.sharing.room import Sharing
from gateway.sharing.shares import share_of
from gateway.stages.assign import Assign
from gateway.stages.authenticate import Authenticate, authenticate, yaml_keys_of
from gateway.stages.cache import Admit, Cache
from gateway.stages.cache_plain import PlainCache
from gateway.stages.dispatch import Dispatch
from gateway.stages.guard import Guard
from gateway.stages.record import Record
from gateway.stages.route import Route
from gateway.stages.structure import Structure
from gateway.storage.home import Home
from gateway.storage.reading.light import light_reader
from gateway.storage.recent import RecentCalls
from gateway.storage.records import PairRecord
from gateway.storage.spooling.format import load_cipher
from gateway.storage.spooling.spool import Spool
from gateway.students.inventing import Inventing
from gateway.students.learning import Learner
from gateway.students.panel import Panel
from gateway.students.questions import Questions, Spending
from gateway.surface import Surface
from gateway.telemetry.backup_gauges import BackupGauges
from gateway.telemetry.gathered import Gathered
from gateway.telemetry.guard_gauges import BesideGauges
from gateway.telemetry.in_use import InUse, Kept
from gateway.telemetry.incidents import Incidents
from gateway.telemetry.key_gauges import KeyGauges
from gateway.telemetry.logs import SHOWN_ONCE, keep_secret
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.provider_gauges import ProviderGauges
from gateway.telemetry.refusal_counts import RefusalCounts
from gateway.telemetry.repeat_counts import RepeatCounts
from gateway.telemetry.schema_gauges import SchemaGauges
from gateway.upstreams.addresses import inside_hosts
from gateway.upstreams.asking import Asker
from gateway.upstreams.upstream import Upstream

_log = logging.getLogger("understudy.gateway")
_SNAPSHOT_EVERY = 0.25
_POLICIES_EVERY = 1.0
_SETTLED_AFTER = 0.05


@dataclass(frozen=True, slots=True)
class _Parts:
    """The rooms that more than one of the others needs."""

    home: Home
    config: Config
    live: Live
    watcher: PolicyWatcher
    upstream: Upstream
    keys: ProviderKeys
    asker: Asker
    recorder: Spool
    accountant: Accountant
    recent: RecentCalls
    metrics: Metrics
    meter: Meter
    observations: Observations
    gate: Gate
    learner: Learner
    panel: Panel
    inventing: Inventing
    record: Record
    telling: Telling
    awake: Awake
    pressure: Pressure
    rng: random.Random
    admin_digest: str
    sharing: Sharing
    semantic: Semantic
    judges: Judges
    guard_models: GuardModels
    refresher: Refresher
    cache: Cache
    backups: BackupGauges
    documents: EnclosedDocuments
    second_factor: SecondFactor | None


def build(
    home: Home, policies: Path, env: Mapping[str, str] = os.environ, config: Config | None = None
) -> tuple[Litestar, Config]:
    """The application and the configuration it starts with: ``config``, when ``policies`` were read already. Raises
    PolicyError or OSError, both for people."""
    config = config or load(policies, env)
    keep_secret(secrets_of(config) | {env.get(VARIABLE, "")})
    home.prepare()
    admin_digest, shown = admin_key.ensure(home, env)
    if shown:
        _log.warning("admin key, shown this once: %s", shown, extra=SHOWN_ONCE)
    sharing = Sharing(env, load_cipher(home))
    config = share_of(config, sharing.workers)
    parts = _parts(home, policies, env, config, admin_digest, sharing)
    who_asks = Authenticate(database_away=lambda: parts.live.database_away)
    parts.live.who = who_asks.who
    before: list[Stage] = [who_asks, parts.meter.stage]
    pipeline = _pipeline(parts, before)
    shortcuts = Shortcuts(sharing.answers, fold([parts.record, *before], given))
    within = [PlainCache(parts.cache.exact)]
    surface = Surface([parts.record, *before], parts.keys, parts.rng, parts.gate, parts.judges, within)
    states, who = (
        ClientStates(parts.live, load_cipher(home), bus=sharing.bus),
        partial(_authenticator, parts.live),
    )
    parts.live.repeats = repeats = Repeats(sharing.repeats, who("inference"))
    parts.metrics.add(RepeatCounts(repeats))
    holders = (parts.live.drain, parts.meter.stage, parts.gate, parts.keys, parts.upstream, parts.cache, repeats)
    parts.metrics.add(InUse(*[holder.in_use for holder in holders]))
    parts.metrics.add(Kept({
        "calls": parts.recent.stats, "documents": states.stats,
        "answers": sharing.answers.stats, "repeats": sharing.repeats.stats, "questions": parts.semantic.stats,
        "document_texts": parts.documents.stats, "shortcuts": shortcuts.stats,
    }))  # fmt: skip
    lines = line_endpoints(pipeline, parts.live, states, who("inference"))
    data = DataSide(
        home, parts.live, surface, parts.upstream, parts.record, lines, who, states=states,
        going_on=parts.meter.stage.going_on,
    )  # fmt: skip
    forgetting = Forgetting(
        parts.live, parts.recent, states, (*sharing.kept, parts.documents, shortcuts), parts.semantic, parts.recorder
    )
    routes = _routes(parts, pipeline, data, states, forgetting)
    lane, lasting = chat_lane(pipeline, parts.live, shortcuts), _lifespan(parts, data, forgetting)
    app = build_app(routes, lasting, lane, parts.live.origins, parts.awake, parts.pressure, parts.live.refusals)
    app.known = lambda scope: known_by_now(parts.live, keyed(scope) if scope["query_string"] else scope)
    app.state.drain, app.state.upstream = parts.live.drain, parts.upstream
    return app, config


def _parts(
    home: Home, policies: Path, env: Mapping[str, str], config: Config, admin_digest: str, sharing: Sharing
) -> _Parts:
    bus = sharing.bus
    rng = random.Random()  # noqa: S311 - draws routes and samples, guards nothing
    recorder = Spool(home, config.spool)
    watcher = PolicyWatcher(policies, env, config, now=time.time())
    live = Live(watcher, light_reader(home), recorder, str(home.engine_socket), bus=bus)
    awake = Awake(config.server.awake_us / 1e6)
    upstream = Upstream(config.timeouts, inside=lambda: inside_hosts(live.runtime().config), awake=awake)
    keys = ProviderKeys(upstream)
    telling = Telling()
    documents = EnclosedDocuments()
    asker, accountant = Asker(keys, documents), Accountant(telling.now)
    recent = RecentCalls(catch_up=telling.now)
    metrics, meter = Metrics(telling.now), Meter(env, live, home)
    observations = Observations(bus=bus, canary=live.watcher.canary_share, catch_up=telling.now)
    metrics.follow(live)
    metrics.add(pressure := Pressure())
    metrics.add(KeyGauges(keys, live))
    metrics.add(RefusalCounts(live.refusals))
    metrics.add(backups := BackupGauges(home, time.time))

    def observe_pair(pair: PairRecord) -> None:
        live.observe_pair(pair)
        metrics.pair(pair)
        meter.pair(pair)

    gate = Gate(Breakers(bus=bus))
    metrics.add(ProviderGauges(gate.breakers, live))
    questions = Questions(asker, gate, accountant)
    learner = Learner(asker, questions, recorder, rng, observe_pair)
    panel = Panel(questions, recorder, rng)
    inventing = Inventing(questions, recorder, live.reader, rng, meter.synthetic, bus=bus)
    findings = Incidents(recorder)
    telling.observers = [recent, accountant, metrics, findings, learner, panel, inventing, live, observations]
    telling.late = [metrics, findings]
    record = Record(recorder, accountant, meter.stage, telling, rng)
    guard_models = GuardModels(home.guards_socket)
    judges = Judges(helpers_of(guard_models, asker, keys, gate, upstream))
    semantic = Semantic(rng, time.monotonic, sharing.commons, sharing.searched)
    refresher = Refresher(lambda: f"chatcmpl-{new_id()}")
    return _Parts(
        home=home, config=config, live=live, watcher=watcher, upstream=upstream, keys=keys, asker=asker,
        recorder=recorder, accountant=accountant, recent=recent, metrics=metrics, meter=meter,
        observations=observations, gate=gate, learner=learner, panel=panel, inventing=inventing, record=record, rng=rng,
        telling=telling, awake=awake, pressure=pressure,
        admin_digest=admin_digest,
        sharing=sharing, semantic=semantic, judges=judges, guard_models=guard_models, refresher=refresher,
        cache=Cache(sharing.answers, semantic=semantic, refresher=refresher), backups=backups,
        documents=documents,
        second_factor=second_factor_of(env, home.secrets / "codes", bus),
    )  # fmt: skip


def _pipeline(parts: _Parts, before: list[Stage]) -> Handler:
    schemas = Schemas()
    parts.metrics.add(SchemaGauges(schemas))
    parts.metrics.add(BesideGauges(parts.judges.beside))
    dispatch = Dispatch(parts.asker, parts.live.watcher.answered, parts.rng, parts.gate, Structure(schemas))
    guard, route = Guard(parts.judges, parts.documents), Route(parts.rng, parts.observations)
    inner: list[Stage] = [Admit(), guard, parts.cache, Assign(), route]
    parts.refresher.pipeline = pipeline = fold([parts.record, *before, *inner], dispatch)
    return pipeline


def _routes(
    parts: _Parts, pipeline: Handler, data: DataSide, states: ClientStates, forgetting: Forgetting
) -> list[ControllerRouterHandler]:
    live, who, shared = parts.live, _authenticator(parts.live), parts.sharing
    metrics = Gathered(parts.metrics, shared.bus, worker=shared.worker, group=shared.group)
    static = Path(__file__).resolve().parent.parent / "admin_ui" / "static"
    return [
        *dialect_routes(pipeline, live, states, who, data.surface, shared.bus, data.announce),
        *data.routes,
        *azure_routes(pipeline, live, data.surface, data.store, who),
        *stored_routes(live, parts.recent, who, shared.bus),
        feedback_route(parts.recorder, parts.recent, _authenticator(live, "data")),
        *model_routes(live, who),
        *health_routes(live, who, parts.admin_digest, metrics.render, parts.backups.wrong),
        *admin_routes(
            live, admin_digest=parts.admin_digest, static=static,
            secure_cookies=parts.config.server.behind_tls, bus=shared.bus, second_factor=parts.second_factor,
            more=[
                *explain_routes(
                    live, parts.observations, parts.rng, parts.gate.breakers, parts.meter.stage.foreseen
                ), costs, incidents,
                *cache_routes(parts.semantic, parts.cache.exact, live, shared.bus),
                discovered_route(parts.home), *erasure_routes(data.writer, live, forgetting),
                import_route(parts.home, live, data.writer), *run_routes(data.writer),
                watched_route(parts.home), savings,
            ],
        ),
    ]  # fmt: skip


def _lifespan(
    parts: _Parts, data: DataSide, forgetting: Forgetting
) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    live = parts.live

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        asked = asyncio.Event()
        app.state.reload = partial(asyncio.get_running_loop().call_soon_threadsafe, asked.set)
        await parts.sharing.start(parts.semantic)
        await live.catch_up()
        await parts.meter.start()
        parts.learner.start()
        parts.panel.start()
        parts.inventing.start()
        data.start()
        checks = HealthChecks(parts.upstream, parts.gate.breakers, lambda: live.runtime().config.upstreams)
        guards = GuardProcess(parts.home, lambda: live.runtime().config)
        await _start_guards(guards)
        spending = Spending(live.reader, parts.learner.budgets | {"ensemble": parts.panel.budget})
        background = _background(
            _follow_database(live), _follow_policies(parts, asked), checks.run(), forgetting.run(), guards.run(),
            spending.run(), parts.pressure.run(), live.refusals.run(),
        )
        try:
            yield
        finally:
            await _stop(background)
            parts.telling.now()
            await guards.stop()
            await parts.judges.beside.close()
            await parts.guard_models.close()
            await data.stop()
            await parts.refresher.stop()
            parts.telling.now()
            await parts.learner.stop()
            await parts.panel.stop()
            await parts.inventing.stop()
            await parts.meter.close()
            await parts.sharing.close()
            parts.semantic.close()
            await parts.keys.close()
            await parts.upstream.close()
            parts.recorder.close()
            live.reader.close()

    return lifespan


async def _start_guards(guards: GuardProcess) -> None:
    try:
        await guards.start()
    except GuardsCannotStart as problem:
        _log.critical("the guardrails need models, and their process does not start: %s", problem)
        await guards.stop()
        raise


def _authenticator(live: Live, scope: str = "inference") -> Authenticator:
    """Who a request is by its headers, outside the pipeline."""

    def who(headers: Mapping[str, str]) -> Principal:
        runtime, now = live.runtime(), time.time()
        keys, away = yaml_keys_of(runtime.config), live.database_away
        return authenticate(headers, runtime, keys, now, scope, database_away=away)

    return who


def _background(*work: Coroutine[None, None, None]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(one) for one in work]


async def _stop(background: list[asyncio.Task[None]]) -> None:
    for task in background:
        task.cancel()
    await asyncio.gather(*background, return_exceptions=True)


async def _follow_database(live: Live) -> None:
    while True:
        await asyncio.sleep(_SNAPSHOT_EVERY)
        with contextlib.suppress(Exception):
            await live.catch_up()


async def _follow_policies(parts: _Parts, asked: asyncio.Event) -> None:
    watcher = parts.watcher
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), _POLICIES_EVERY)
        config = await asyncio.to_thread(watcher.poll, time.time())
        if asked.is_set() and config is None:  # it needs two looks to see that files have come to rest
            await asyncio.sleep(_SETTLED_AFTER)
            config = await asyncio.to_thread(watcher.poll, time.time())
        asked.clear()
        if config is not None:
            keep_secret(secrets_of(config))
            parts.live.adopt_policies(share_of(config, parts.sharing.workers))
