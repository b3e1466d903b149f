"""Several candidates in one round: each is trained, and the best on the calibration calls go on: one, or as many as are
to be proven side by side.

What the gates will see comes later, so the pick costs them nothing: their alpha is shared by those that go on. The
thresholds that it compared share the round's delta (``optimizer.stats.multiplicity``). Candidates lie in
``.STUDENT.training`` until the run is settled: a run that was killed finds them there, and picks the same ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.config import Candidates, Learn
from optimizer.cascade import Calibration, merit
from optimizer.certificate import Rival
from trainer.artifacts import registry
from trainer.artifacts.artifact import Artifact
from trainer.certify import Lineage, levels
from trainer.datasets.versions import Version
from trainer.evaluate import calibration_calls, chosen_threshold
from trainer.recipes import CannotLearn, Example, Means, Way, train_one, ways
from trainer.training.curve import telling

_FROM, _SPAN = 0.15, 0.65


class Chosen(Struct, frozen=True):
    """A student of a round: where it goes, its artifact, and the others as its certificate shows them."""

    where: registry.Place
    artifact: Artifact
    rivals: tuple[Rival, ...] = ()


class Picked(Struct, frozen=True):
    """The students of a round, the best first, among how many candidates they were picked, and what people see of all.
    An earlier attempt may have settled it: then nobody asks for the others."""

    chosen: tuple[Chosen, ...]
    candidates: int = 1
    told: tuple[dict[str, Any], ...] = ()


class _Entrant(Struct, frozen=True):
    name: str
    where: registry.Place
    artifact: Artifact
    calls: tuple[tuple[float, bool], ...]


@dataclass(frozen=True, slots=True)
class Contest:
    """What the candidates of one round are trained with. ``late()``: whether no further one may be begun."""

    where: registry.Place
    learn: Learn
    rules: Candidates
    artifacts: Path
    means: Means
    say: Callable[..., None]
    late: Callable[[], bool]

    @property
    def work(self) -> Path:
        return self.artifacts / f".{self.where.student}.training"

    def hold(
        self, version: Version, examples: Sequence[Example], settled: Sequence[tuple[int, Lineage]]
    ) -> Picked:
        """Trains, compares and picks. ``settled``: what ``registry.settled_before`` says. Raises CannotLearn when no
        recipe can do the task."""
        before = [self._finished(self.where.nth(number), version) for number, _ in settled]
        if before and None not in before:
            return Picked(tuple(one for one in before if one is not None), settled[0][1].candidates)
        entrants, reasons = self._train(version, examples)
        if not entrants:
            raise CannotLearn("; ".join(reasons) or "the task names no recipe that exists")
        return self._pick(version, entrants, reasons)

    def _finished(self, where: registry.Place, version: Version) -> Chosen | None:
        artifact = registry.trained_before(self.artifacts / where.student, version.digest, self.learn.seed)
        return Chosen(where, artifact) if artifact is not None else None

    def _train(self, version: Version, examples: Sequence[Example]) -> tuple[list[_Entrant], list[str]]:
        learn = self.learn
        entrants: list[_Entrant] = []
        reasons: list[str] = []
        possible = ways(
            learn.recipes, features=learn.features, encoder=learn.encoder,
            base=self.means.plan is not None, varied=True,
        )  # fmt: skip
        for way in possible:
            if len(entrants) == self.rules.most:
                break
            where = self.where.nth(len(entrants)) if self.rules.together > 1 else self.where
            place = self.work / way.name / where.student
            artifact = registry.trained_before(place, version.digest, learn.seed)
            if artifact is None and entrants and self.late():
                reasons.append(f"{way.name}: not begun, {self.rules.max_hours:g} hours were over")
                continue
            try:
                artifact = artifact or self._train_one(way, place, version, examples, len(entrants))
            except CannotLearn as problem:
                reasons.append(f"{way.name}: {problem}")
                continue
            calls = calibration_calls(registry.as_trained(artifact), version, learn.comparison)
            entrants.append(_Entrant(way.name, where, artifact, calls))
        return entrants, reasons

    def _train_one(
        self, way: Way, place: Path, version: Version, examples: Sequence[Example], before: int
    ) -> Artifact:
        start, width = _FROM + _SPAN * before / self.rules.most, _SPAN / self.rules.most
        message = f"training candidate {before + 1} of at most {self.rules.most}, {way.name}, round {self.where.round}"
        self.say(start, "training", message)
        own = msgspec.structs.replace(self.means, workspace=place.parent / "work")
        trained = train_one(
            way, examples, seed=self.learn.seed, tick=telling(self.say, start, width),
            encoder=self.learn.encoder, means=own,
        )  # fmt: skip
        return registry.store(place, way.recipe, trained, version.digest, self.learn.seed)

    def _pick(self, version: Version, entrants: Sequence[_Entrant], reasons: Sequence[str]) -> Picked:
        terms, _ = levels(self.learn, self.where.round, self.where.earlier_promotions, len(entrants))
        found = [chosen_threshold(one.calls, terms, self.learn.provisional) for one in entrants]
        ranked = sorted(range(len(entrants)), key=lambda number: merit(found[number]), reverse=True)  # stable: of
        picked = ranked[: self.rules.together]  # equals the first, which is the cheapest
        told = tuple(
            _told(one, calibration, number in picked)
            for number, (one, calibration) in enumerate(zip(entrants, found, strict=True))
        )
        for line in told:
            self.say(_FROM + _SPAN, "comparing", _sentence(line), {"candidate": line})
        for reason in reasons:
            self.say(_FROM + _SPAN, "comparing", f"no candidate: {reason}")
        chosen = [self._published(version, entrants, number) for number in picked]
        return Picked(tuple(chosen), len(entrants), told)

    def _published(self, version: Version, entrants: Sequence[_Entrant], number: int) -> Chosen:
        one = entrants[number]
        registry.publish(self.work / one.name / one.where.student, self.artifacts / one.where.student)
        rivals = tuple(
            Rival(other.name, other.artifact.digest, other.calls) for other in entrants if other is not one
        )
        made = self._finished(one.where, version) or Chosen(one.where, one.artifact)
        return msgspec.structs.replace(made, rivals=rivals)


def clear(artifacts: Path, student: str) -> None:
    """Of a run that is settled: what lay there of its candidates."""
    shutil.rmtree(artifacts / f".{student}.training", ignore_errors=True)


def _told(one: _Entrant, found: Calibration, picked: bool) -> dict[str, Any]:
    return {
        "name": one.name,
        "artifact": one.artifact.digest,
        "n": found.n,
        "answered": found.answered,
        "agreed": found.agreed,
        "certified": found.threshold is not None and not found.provisional,
        "picked": picked,
    }


def _sentence(line: dict[str, Any]) -> str:
    if not line["answered"]:
        result = f"has no threshold on {line['n']} calibration calls"
    else:
        kind = "certified" if line["certified"] else "provisional"
        result = f"answers {line['answered']} of {line['n']} calibration calls, {line['agreed']} agree ({kind})"
    return f"candidate {line['name']} {result}{'; it is picked' if line['picked'] else ''}"
