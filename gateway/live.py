"""The live side of the gateway: the runtime that new calls run under, and every way it changes.

A demotion takes effect here at once, reaches the other workers of this gateway over the bus, and goes to the spool
for everybody else. What was changed here stays in force over every snapshot until the database has caught up with it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import structs

from gateway import errors
from gateway.access.origins import Origins
from gateway.access.refusals import Refusals
from gateway.caching.repeats import Repeats
from gateway.concurrency.telling import Ended
from gateway.config import Config
from gateway.context import Principal
from gateway.policy.files import PolicyWatcher
from gateway.resilience.drain import Drain
from gateway.retrieval.asking import Library
from gateway.runtime import Runtime, build_runtime
from gateway.sharing.bus import ALONE, Bus
from gateway.storage.away import said
from gateway.storage.protocols import Reader, Recorder
from gateway.storage.records import (
    AuditRecord,
    DemotionRecord,
    PairRecord,
    SwitchRecord,
    WishRecord,
)
from gateway.storage.values import Snapshot
from gateway.students.watching import Watcher
from optimizer.rollout import Stage, Student

_log = logging.getLogger("understudy.live")
_LOOK_S = 0.05
_PATIENCE_S = 10.0
WAITING_FOR = (
    "the database, which 'understudy ingest' makes and writes: run it beside 'understudy serve' with the same home and "
    "UNDERSTUDY_DATABASE_URL, or run 'understudy up', which starts both. If it runs, its log says what is wrong."
)
NOTHING = Snapshot(generation=-1, keys=(), students=(), students_off=False)


def nobody_yet(headers: Mapping[str, str], runtime: Runtime) -> Principal:
    raise errors.Unavailable("The gateway is starting. Try again shortly.", headers={"retry-after": "1"})


class Documents(Protocol):
    """The files of a project, for the calls that name them."""

    async def filled(self, body: dict[str, Any], who: Principal, most: int) -> dict[str, Any]:
        """A chat body with the content of our files in the place of their ids. Raises GatewayError."""


class Live:
    """Implements gateway.control.Control. ``refresh`` is the only blocking method: call it in a thread."""

    def __init__(
        self,
        policies: PolicyWatcher,
        reader: Reader,
        recorder: Recorder,
        engine_socket: str,
        clock: Callable[[], float] = time.time,
        bus: Bus = ALONE,
    ) -> None:
        self._policies, self._reader, self._recorder = policies, reader, recorder
        self._engine_socket, self._clock = engine_socket, clock
        self._taken: dict[str, tuple[int, Literal["retired", "paused"]]] = {}
        self._off: bool | None = None
        self._base = NOTHING
        self.database_away = False
        self._patient_until = time.monotonic() + _PATIENCE_S
        self._looking: asyncio.Task[None] | None = None
        self.drain = Drain()
        self.origins = Origins(policies.config.server.cors_origins)
        self.refusals = Refusals(time.monotonic, self.audit)
        self.repeats: Repeats | None = None
        """Where requests with an ``Idempotency-Key`` find what they said before; set once it exists."""
        self.documents: Documents | None = None
        """Where calls find the files they name; set once it exists."""
        self.library: Library | None = None
        """Where calls search; set once it exists."""
        self.who: Callable[[Mapping[str, str], Runtime], Principal] = nobody_yet
        """Whoever may ask a model with these headers, before anything of the body is read; set once it is known."""
        self.watcher = Watcher(self._alarmed)
        self._runtime = build_runtime(policies.config, NOTHING, engine_socket)
        self._bus = bus
        bus.hear("demoted", self._told_demotion)
        bus.hear("students off", self._told_switch)
        bus.hear("pair", self._told_pair)
        bus.greet(self._introduce)

    # ------------------------------------------------------------------ Control
    @property
    def reader(self) -> Reader:
        return self._reader

    @property
    def recorder(self) -> Recorder:
        return self._recorder

    def runtime(self) -> Runtime:
        return self._runtime

    @property
    def loaded(self) -> bool:
        """Whether keys and students were read at least once."""
        return self._base.generation >= 0

    def take_back(
        self,
        student: str,
        to: Literal["retired", "paused"],
        *,
        actor: str,
        reason: str,
        retrain: bool = False,
    ) -> None:
        found = self._find(student)
        self._demote(found, to, actor, reason, {}, retrain)

    def wish(
        self, student: str, action: Literal["promote", "resume", "retrain"], *, actor: str, reason: str
    ) -> None:
        self._find(student, retired_too=action == "retrain")
        self._recorder.append(WishRecord(student, action, actor, reason, self._clock()))

    def switch_students(self, *, off: bool, actor: str, reason: str) -> None:
        self._off = off
        self._recorder.append(SwitchRecord(off, actor, reason, self._clock()))
        self._bus.tell("students off", off)
        self._rebuild(self._runtime.config)

    def audit(self, actor: str, action: str, subject: str, reason: str) -> None:
        self._recorder.append(AuditRecord(actor, action, subject, reason, self._clock()))

    def watch_numbers(self, student: str) -> dict[str, float]:
        """Those of a student in canary with the share of the calls that it answers by now."""
        numbers = self.watcher.numbers(student)
        standing = self._runtime.students_by_id.get(student)
        if numbers and standing is not None and standing.stage is Stage.CANARY:
            rules = self._runtime.config.promotion.canary
            numbers["canary_share"] = self.watcher.canary_share(standing, rules)
        return numbers

    def config_status(self) -> dict[str, str]:
        return self._policies.status()

    # ------------------------------------------------------------------ change
    def observe_pair(self, pair: PairRecord) -> None:
        if pair.kind in ("canary", "reask") and pair.answered:
            self._bus.tell("pair", pair.student, pair.epoch, pair.agree)
            self.watcher.pair(pair.student, pair.epoch, pair.agree)
            self.watcher.paid(pair.student, pair.extra_cost_usd, None)

    def finished(self, calls: Sequence[Ended]) -> None:
        """Observes ended calls: what a student's answer cost, and what its teacher's would have."""
        for one in calls:
            if (record := one.record).student:
                self.watcher.paid(record.student, record.cost_usd, record.teacher_cost_usd)

    # ------------------------------------------------------------------ what other workers tell
    def _introduce(self) -> None:
        for student, (epoch, to) in self._taken.items():
            self._bus.tell("demoted", student, epoch, to)
        if self._off is not None:
            self._bus.tell("students off", self._off)

    def _told_demotion(self, student: str, epoch: int, to: Literal["retired", "paused"]) -> None:
        if student not in self._taken:
            self._taken[student] = (epoch, to)
            self._rebuild(self._runtime.config)

    def _told_switch(self, off: bool) -> None:
        self._off = off
        self._rebuild(self._runtime.config)

    def _told_pair(self, student: str, epoch: int, agree: bool) -> None:
        """Evidence that another worker judges; it counts here when this one has some of its own."""
        self.watcher.pair(student, epoch, agree, judge=False)

    def refresh(self) -> Snapshot | None:
        """A newer snapshot, or None. Blocking: runs in a thread. A missing database keeps the last one."""
        try:
            if self._reader.generation() == self._base.generation:
                self.database_away = False
                return None
            snapshot = self._reader.snapshot()
        except Exception as problem:  # whatever the driver raises, serving goes on with what is known
            if not self.database_away:
                _log.warning("the database cannot be read, serving with what is known: %s", said(problem))
            self.database_away = True
            self._complain()
            return None
        self.database_away = False
        return snapshot

    def _complain(self) -> None:
        """Once, when the start takes longer than one in which the ingester is only a little later."""
        if not self.loaded and self._patient_until < time.monotonic():
            self._patient_until = math.inf
            _log.warning("still starting: waiting for %s", WAITING_FOR)

    async def catch_up(self) -> None:
        """Puts the database's present state into force now, for a client that must see what it just did."""
        snapshot = await asyncio.to_thread(self.refresh)
        if snapshot is not None:
            self.adopt(snapshot, await asyncio.to_thread(self.backlog, snapshot))

    async def look_again(self) -> None:
        """Waits until the database was looked at once more, for a key that may have been made just now. However many
        ask, it is looked at twenty times a second at most."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        await asyncio.sleep(_LOOK_S)
        try:
            await self.catch_up()
        except Exception as problem:  # as for refresh: serving goes on with what is known
            _log.warning("the database could not be looked at again: %s", type(problem).__name__)

    def backlog(self, snapshot: Snapshot) -> dict[str, list[bool]]:
        """What was recorded about serving students that are not watched yet. Blocking, for a restart."""
        found: dict[str, list[bool]] = {}
        for student in self.watcher.missing(snapshot.students):
            pairs = self._reader.pairs(student=student.id, kinds=("canary", "reask"), epoch=student.epoch)
            found[student.id] = [pair.agree for pair in pairs if pair.answered]
        return found

    def adopt(self, snapshot: Snapshot, backlog: dict[str, list[bool]]) -> None:
        """Puts a snapshot into force (in the event loop)."""
        self._base = snapshot
        self._rebuild(self._runtime.config)
        students = self._runtime.snapshot.students
        for student in self.watcher.missing(students):
            task = self._runtime.tasks.get(student.task)
            if task is not None and task.learn is not None:
                self.watcher.begin(student, task, backlog.get(student.id, []))
        self.watcher.forget({one.id for one in students if one.stage in (Stage.CANARY, Stage.LIVE)})

    def adopt_policies(self, config: Config) -> None:
        self._rebuild(config)
        self.origins.follow(config.server.cors_origins)
        self.audit("policies", "reload", config.digest, "the policies folder changed")

    def _rebuild(self, config: Config) -> None:
        base = self._base
        known = {one.id: one for one in base.students}
        for student, (epoch, _) in list(self._taken.items()):
            if student not in known or known[student].epoch > epoch:
                del self._taken[student]  # the database has caught up
        if self._off is not None and self._off == base.students_off:
            self._off = None
        students = tuple(changed for one in base.students if (changed := self._as_taken(one)) is not None)
        off = base.students_off if self._off is None else self._off
        view = structs.replace(base, students=students, students_off=off)
        self._runtime = build_runtime(config, view, self._engine_socket)

    def _as_taken(self, student: Student) -> Student | None:
        taken = self._taken.get(student.id)
        if taken is None:
            return student
        return structs.replace(student, paused=True) if taken[1] == "paused" else None

    def _alarmed(self, student: str, reason: str, numbers: dict[str, float]) -> None:
        found = next((one for one in self._runtime.snapshot.students if one.id == student), None)
        if found is not None and not found.paused:
            self._demote(found, "retired", "watch", reason, numbers, True)

    def _demote(
        self,
        student: Student,
        to: Literal["retired", "paused"],
        actor: str,
        reason: str,
        numbers: dict[str, float],
        retrain: bool,
    ) -> None:
        self._taken[student.id] = (student.epoch, to)
        self._bus.tell("demoted", student.id, student.epoch, to)
        self._recorder.append(DemotionRecord(
            student=student.id, epoch=student.epoch, at=self._clock(), to=to, actor=actor, reason=reason,
            numbers=numbers, retrain=retrain,
        ))  # fmt: skip
        _log.warning("student %s was taken back (%s) by %s: %s", student.id, to, actor, reason)
        self._rebuild(self._runtime.config)

    def _find(self, student: str, *, retired_too: bool = False) -> Student:
        for one in self._runtime.snapshot.students:
            if one.id == student:
                return one
        if retired_too and any(one.id == student for one in self._reader.students()):
            return next(one for one in self._reader.students() if one.id == student)
        raise errors.NotFound(
            f"There is no student '{student[:80]}' that is not retired.", code="student_not_found"
        )
