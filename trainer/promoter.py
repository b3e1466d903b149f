"""Moves proven students one step up. The optimizer decides; here evidence is gathered and the decision done.

Every step of a student is a compare-and-set on the epoch its evidence was gathered at, so a demotion that the
gateway made in between always wins.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.config import Config, Learn, Task
from gateway.storage import labels
from gateway.storage.commands import HandleWish, MoveStudent, Refused
from gateway.storage.data_values import AddEvent
from gateway.storage.protocols import Reader, Writer
from gateway.storage.settled import write_whole
from gateway.storage.values import Pair, Run, Wish
from optimizer.gates import GateResult, GateSettings, Outcome, Truth
from optimizer.gates.truth import HOURS, STUDENT, TEACHER
from optimizer.rollout import Decision, Promote, Reject, Stage, Student, advance
from optimizer.slices import REST
from optimizer.stats.principals import Admission
from trainer.applicable import gates_for
from trainer.artifacts.registry import lineage_of
from trainer.certify import Issuer, Lineage
from trainer.planner import scope_of, wished

_log = logging.getLogger("understudy.trainer")
_PROVING = (Stage.SHADOW, Stage.CANARY)
_KINDS: dict[Stage, tuple[str, ...]] = {Stage.SHADOW: ("shadow",), Stage.CANARY: ("canary", "reask")}


class Standing(Struct, frozen=True):
    """Where a student under proof stands: ``decision`` as the gates see it, ``waits`` for a person or not."""

    student: str
    stage: str
    pairs: int
    decision: Decision
    waits_for_approval: bool
    left_out: int = 0
    """Pairs of callers who had more than their share of the evidence already."""


@dataclass(slots=True)
class _Evidence:
    """The outcomes of one student at one epoch, read so far."""

    epoch: int
    last_seq: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    slices: list[str] = field(default_factory=list)
    admission: Admission = field(default_factory=Admission)
    judged: int = -1
    decision: Decision | None = None

    @property
    def served(self) -> float:
        """The share of its calls that the student would answer."""
        return sum(one.answered for one in self.outcomes) / max(1, len(self.outcomes))

    def add_labels(self, said: Mapping[str, float]) -> bool:
        """Puts what people said on the outcomes that a judge looked at; whether anything was new."""
        new = False
        for at, one in enumerate(self.outcomes) if said else ():
            human = said.get(one.call)
            if human is not None and "judge" in one.scores and one.scores.get("human") != human:
                self.outcomes[at] = msgspec.structs.replace(one, scores=one.scores | {"human": human})
                new = True
        return new


class _Judged(Struct, frozen=True):
    """A student under proof, what it is judged by, and what follows."""

    student: Student
    lineage: Lineage
    learn: Learn
    gates: Sequence[GateSettings]
    evidence: _Evidence
    decision: Decision

    @property
    def stands_beside_others(self) -> bool:
        """Whether it is one of several candidates of a round that are in shadow side by side."""
        return self.student.stage is Stage.SHADOW and self.lineage.together > 1


class Promoter:
    """``tick`` once a moment. Restart-safe: everything it knows is read from the database again."""

    def __init__(
        self, reader: Reader, writer: Writer, issuer: Issuer, standings: Path, now: Callable[[], float]
    ) -> None:
        """What people said of judged answers lies in ``labels/`` beside the ``standings``."""
        self._reader = reader
        self._writer = writer
        self._issuer = issuer
        self._standings = standings
        self._now = now
        self._labels = standings.parent / "labels"
        self._evidence: dict[str, _Evidence] = {}
        self._shown: bytes = b""
        self._told: set[tuple[str, int]] = set()

    def tick(self, config: Config) -> None:
        """Judges every student under proof, deals with wishes. Raises WriterAway, OSError, SQLAlchemyError."""
        learning = {task.name: task for task in config.tasks if task.learn is not None}
        students = {student.id: student for student in self._reader.students()}
        wishes = self._reader.open_wishes()
        proven = list(self._judged(config, learning, students.values()))
        won = self._rounds_won(students.values(), proven)
        # of candidates that pass at the same look the one that saves most goes on
        best_first = sorted(proven, key=lambda one: -one.evidence.served)
        found = {one.student.id: self._act(one, won, wishes) for one in best_first}
        standings = [standing for one in proven if (standing := found[one.student.id]) is not None]
        for wish in wishes:
            outcome = self._answer(wish, students.get(wish.student))
            if outcome:
                self._writer.execute(HandleWish(wish.id, outcome, self._now()))
        self._evidence = {name: one for name, one in self._evidence.items() if name in students}
        self._show(standings)

    # ------------------------------------------------------------ proof
    def _judged(
        self, config: Config, learning: Mapping[str, Task], students: Iterable[Student]
    ) -> Iterator[_Judged]:
        """Every student under proof, with what the gates say of it by now."""
        for student in students:
            task = learning.get(student.task)
            if task is None or task.learn is None or student.stage not in _PROVING or student.paused:
                continue
            try:
                lineage = lineage_of(self._reader.student_detail(student.id))
            except msgspec.ValidationError:
                _log.error("%s has no lineage: nothing can be certified about it", student.id)
                continue
            gates = gates_for(config, task, student)
            evidence = self._gather(student, _settled_after(gates))
            if evidence.decision is None or evidence.judged != len(evidence.outcomes):
                terms, _ = lineage.levels(task.learn, student.round)
                slices = evidence.slices if student.slices else ()
                evidence.decision = advance(student, evidence.outcomes, gates, terms, slices)
                evidence.judged = len(evidence.outcomes)
            yield _Judged(student, lineage, task.learn, gates, evidence, evidence.decision)

    def _rounds_won(self, students: Iterable[Student], proven: Sequence[_Judged]) -> set[str]:
        """Runs of candidates in shadow of which one serves by now."""
        open_ = {one.lineage.run for one in proven if one.stands_beside_others}
        serving = [one for one in students if one.stage in (Stage.CANARY, Stage.LIVE)] if open_ else []
        runs = {self._reader.student_detail(one.id).get("metrics", {}).get("run") for one in serving}
        return open_ & runs

    def _act(self, one: _Judged, won: set[str], wishes: Sequence[Wish]) -> Standing | None:
        """Does what was decided; None where the student's round is over. ``won`` grows by the round of a candidate that
        is promoted: its alpha was divided among all of them, so one of them goes on and no more."""
        student, decision, waits = one.student, one.decision, False
        if one.stands_beside_others and one.lineage.run in won:
            self._move(student, Stage.RETIRED, None, "another candidate of its round was proven first", ())
            return None
        if isinstance(decision, Reject):
            self._move(student, Stage.RETIRED, None, decision.reason, decision.results)
        elif isinstance(decision, Promote):
            asked = next((w for w in wishes if w.student == student.id and w.action == "promote"), None)
            waits = one.learn.approval == "manual" and asked is None
            if not waits:
                if self._promote(student, one.lineage, one.learn, one.gates, one.evidence, asked):
                    won.add(one.lineage.run)
            elif (student.id, student.epoch) not in self._told:
                self._tell_of_waiting(student)
        evidence = one.evidence
        left_out = evidence.admission.left_out
        return Standing(student.id, student.stage.value, len(evidence.outcomes), decision, waits, left_out)

    def _gather(self, student: Student, settled_after: float) -> _Evidence:
        """Adds the pairs that came since the last look, in the order they were ingested, up to the first of which
        clients may yet say something that counts."""
        known = self._evidence.get(student.id)
        if known is None or known.epoch != student.epoch:
            known = self._evidence[student.id] = _Evidence(epoch=student.epoch)
        pairs = self._reader.pairs(
            student=student.id,
            kinds=_KINDS[student.stage],
            epoch=student.epoch,
            after_seq=known.last_seq,
        )
        settled = self._now() - settled_after
        young = (at for at, pair in enumerate(pairs) if settled_after and pair.created_at > settled)
        pairs = pairs[: next(young, len(pairs))]
        if pairs:
            for pair in pairs:
                if known.admission.admits(pair.principal):
                    known.outcomes.append(_trusted(outcome_of(pair), known.admission))
                    known.slices.append(pair.slice or REST)
            known.last_seq = pairs[-1].seq
        if known.add_labels(labels.read(self._labels, student.id)):
            known.judged = -1
        return known

    def _promote(
        self, student: Student, lineage: Lineage, learn: Learn, gates: Sequence[GateSettings],
        evidence: _Evidence, asked: Wish | None,
    ) -> bool:  # fmt: skip
        """Issues the certificate, then moves, if nobody moved the student first. A crash between the two leaves a
        certificate nobody uses."""
        certificate = self._issuer.proof(
            student, lineage, learn, gates, evidence.outcomes, self._now(), slices=evidence.slices,
            left_out=evidence.admission.left_out,
        )  # fmt: skip
        if certificate.verdict != "promote":
            raise AssertionError("a certificate must conclude what the decision it records concluded")
        name, path = self._issuer.write(certificate)
        reason = "; ".join(f"{result.gate}: {result.reason}" for result in certificate.results)
        by = f"trainer, approved by {asked.actor}" if asked else "trainer"
        deferred = certificate.deferred or ()
        if deferred:
            reason = f"with the teacher stay the slices {', '.join(deferred)}; {reason}"
        moved = self._move(
            student, certificate.to_stage, name, reason, certificate.results, actor=by, deferred=deferred
        )
        if moved and asked:
            outcome = f"promoted to {certificate.to_stage} with certificate {path.name}"
            self._writer.execute(HandleWish(asked.id, outcome, self._now()))
        return moved

    def _move(
        self, student: Student, to: Stage, certificate: str | None, reason: str,
        results: Sequence[GateResult], *, actor: str = "trainer", deferred: tuple[str, ...] | None = None,
    ) -> bool:  # fmt: skip
        """→ False when somebody moved the student first; the next tick decides again."""
        detail: dict[str, Any] = {"results": msgspec.to_builtins(results)}
        command = MoveStudent(
            student=student.id, to=to, paused=False, expected_epoch=student.epoch, actor=actor, reason=reason,
            at=self._now(), certificate=certificate, detail=detail, deferred=deferred,
        )  # fmt: skip
        try:
            self._writer.execute(command)
        except Refused as problem:
            _log.warning("%s", problem)
            return False
        self._evidence.pop(student.id, None)
        _log.info("%s: %s -> %s (%s)", student.id, student.stage.value, to.value, reason)
        return True

    # ------------------------------------------------------------ wishes
    def _answer(self, wish: Wish, student: Student | None) -> str:
        """What became of a wish; "" while it stays open."""
        if student is None:
            return "there is no such student"
        if wish.action == "retrain":
            return self._retrain(student)
        if student.stage == Stage.RETIRED:
            return "a retired student does not come back; ask for a retrain"
        if wish.action == "resume":
            return self._resume(student, wish)
        if student.stage == Stage.LIVE:
            return "the student is live already"
        return ""  # a promotion: stays open until the gates have spoken

    def _resume(self, student: Student, wish: Wish) -> str:
        if not student.paused:
            return "the student is not paused"
        resumed = self._move(student, student.stage, None, wish.reason, (), actor=wish.actor)
        return "resumed" if resumed else "the student moved first; look again"

    def _retrain(self, student: Student) -> str:
        version = next((v for v in self._reader.task_versions() if scope_of(v) == scope_of(student)), None)
        if version is None:
            return "no captured calls are left to train on"
        runs = self._reader.runs(task=student.task, limit=1000)
        history = [run for run in runs if scope_of(run) == scope_of(student)]
        run: Run = self._writer.execute(wished(version, history, self._now()))
        return f"run {run.id} is {run.state}"

    # ------------------------------------------------------------ what people see
    def _tell_of_waiting(self, student: Student) -> None:
        """Webhooks hear once that a person has to say something."""
        self._writer.execute(AddEvent(
            student.project, "understudy.student.waiting", student.id, self._now(), once=str(student.epoch)
        ))  # fmt: skip
        self._told.add((student.id, student.epoch))

    def _show(self, standings: Sequence[Standing]) -> None:
        """Writes the standings for people and pages, when they changed."""
        text = msgspec.json.format(msgspec.json.encode(standings))
        if text != self._shown:
            for standing in standings:
                if standing.waits_for_approval:
                    _log.info("%s has passed the gates of %s: approve it.", standing.student, standing.stage)
            write_whole(self._standings, text)
            self._shown = text


_INGESTED_S = 60.0
"""What a client said in time is in the database by then."""


def _settled_after(gates: Sequence[GateSettings]) -> float:
    """Seconds after which what clients say of a call counts no more; 0 when no gate asks for it."""
    hours = max((gate.within_hours for gate in gates if isinstance(gate, Truth)), default=0.0)
    return hours * 3600 + _INGESTED_S if hours else 0.0


def _trusted(outcome: Outcome, admission: Admission) -> Outcome:
    """Of few callers nobody can say who corrects too much: then a correction may take a student's point away, and
    none of them gives it one back that the teacher's answer denied."""
    if admission.in_force or outcome.agree or HOURS not in outcome.scores:
        return outcome
    kept = {name: score for name, score in outcome.scores.items() if name not in (STUDENT, TEACHER, HOURS)}
    return msgspec.structs.replace(outcome, scores=kept)


def outcome_of(pair: Pair) -> Outcome:
    """A row of evidence as the gates judge it."""
    return Outcome(
        call=pair.call_id,
        cluster=pair.session,
        answered=pair.answered,
        agree=pair.agree,
        confidence=pair.confidence,
        latency_ms=pair.student_latency_ms,
        scores=pair.scores,
    )
