"""Death at random points of curation, training, examination and rollout: the same end, and no step taken twice.

A run counts each thing it says, each command it sends and each file it makes durable, and dies at a given count. What
is left on disk and in the database is all that the next attempt has. (That a real SIGKILL of the real processes is
survived is in test_worker.py and e2e/test_kill.py; here many points are tried.)
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lesson_home import FINGERPRINT, pair, policies, store_records, with_calls

from gateway.policy import files as policy_files
from gateway.storage.commands import Command, EnqueueRun
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.writing.writers import open_writer
from optimizer.certificate import read_envelope, recompute
from optimizer.rollout import Stage, Student
from trainer.certify import Issuer
from trainer.job import execute, learning_task
from trainer.lesson import Lesson
from trainer.promoter import Promoter

POINTS, SEED = 6, 20260621


class Killed(BaseException):
    """Nothing in the product catches this."""


class Fate:
    """Dies at the ``at``-th thing that happens."""

    def __init__(self, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self._at = 0, at
        monkeypatch.setattr(os, "fsync", lambda descriptor, real=os.fdatasync: (real(descriptor), self.step()))

    def step(self, *_: Any, **__: Any) -> None:
        self.count += 1
        if self.count == self._at:
            raise Killed


class Writer:
    """The real writer; death comes before or after what it writes."""

    def __init__(self, home: Home, fate: Fate) -> None:
        self._real, self._fate = open_writer(home), fate

    def execute(self, command: Command) -> Any:
        self._fate.step()
        done = self._real.execute(command)
        self._fate.step()
        return done

    def close(self) -> None:
        self._real.close()


@pytest.fixture(scope="module")
def begun(tmp_path_factory, make_tickets) -> Path:
    """A home with captured calls and a run that nobody has begun."""
    home = with_calls(tmp_path_factory.mktemp("begun") / "home", make_tickets(600, noise=0.0), at=1000.0)
    writer = open_writer(home)
    writer.execute(EnqueueRun("train", "p", "triage", FINGERPRINT, {"trainable_calls": 600}, 1500.0))
    writer.close()
    return home.root


def attempt(root: Path, folder: Path, at: int) -> tuple[dict[str, Any] | None, int]:
    """The run's result, None when it died; and how many things happened."""
    home = Home(root)
    task, learn = learning_task(policy_files.load(policies(folder), {}), "triage")
    with pytest.MonkeyPatch.context() as patch:
        fate = Fate(at, patch)
        reader, writer = open_reader(home), Writer(home, fate)
        (run,) = reader.runs()
        try:
            issuer = Issuer.of(home)  # its key is made at the first start
            lesson = Lesson(run, task, learn, home, reader, writer, issuer, fate.step, lambda: 2000.0)
            return execute(lesson), fate.count
        except Killed:
            return None, fate.count
        finally:
            writer.close()
            reader.close()


def state(root: Path) -> tuple[list[tuple[str, Any, int]], list[str], list[str]]:
    """Students with their stage and epoch, what the journal tells, and the certificates, each checked."""
    reader = open_reader(Home(root))
    students = [(one.artifact, one.stage, one.epoch) for one in reader.students()]
    told = [f"{one.subject} {one.action}" for one in reader.journal()][::-1]
    assert reader.verify_journal() is None
    reader.close()
    certified = []
    for path in sorted((root / "certificates").glob("*.json")):
        certificate = read_envelope(path.read_bytes()).certificate
        assert recompute(certificate) == []
        certified.append(f"{certificate.student} {certificate.from_stage}->{certificate.to_stage}")
    return students, told, sorted(certified)


def test_a_lesson_that_dies_anywhere_ends_as_if_it_had_not(begun, tmp_path) -> None:
    whole = shutil.copytree(begun, tmp_path / "whole")
    expected, things = attempt(whole, tmp_path / "policies", 0)
    assert expected is not None
    assert things > 20
    rng = random.Random(SEED)
    for point in sorted(rng.sample(range(1, things), POINTS)):
        root = shutil.copytree(begun, tmp_path / f"at-{point}")
        died, _ = attempt(root, tmp_path / "policies", point)
        assert died is None, f"it was to die at {point}"
        found, _ = attempt(root, tmp_path / "policies", rng.randrange(1, 2 * things))  # perhaps once more
        found = found or attempt(root, tmp_path / "policies", 0)[0]
        assert found is not None
        assert {**found, "certificate": ""} == {**expected, "certificate": ""}, f"died at {point}"
        assert state(root) == state(whole), f"died at {point}"
        shutil.rmtree(root)


def rolled_out(home: Home, folder: Path, die: Callable[[], int]) -> int:
    """Evidence comes in, the promoter is asked again and again, and dies where ``die`` says; → what happened."""
    config, happened = policy_files.load(policies(folder), {}), 0
    for kind in ("", "shadow", "canary", "reask", "reask"):
        if kind:
            student, count = _student(home), 500 if kind == "shadow" else 250
            pairs = [pair(student, number, kind, agree=True) for number in range(count)]
            store_records(home, [msgspec.structs.replace(one, confidence=1.0) for one in pairs])
        for _ in range(3):
            with pytest.MonkeyPatch.context() as patch:
                fate = Fate(die(), patch)
                reader, writer = open_reader(home), Writer(home, fate)
                promoter = Promoter(reader, writer, Issuer.of(home), home.root / "standings.json", lambda: 3000.0)
                try:
                    promoter.tick(config)
                except Killed:
                    pass
                finally:
                    writer.close()
                    reader.close()
            happened += fate.count
    return happened


def _student(home: Home) -> Student:
    reader = open_reader(home)
    (student,) = reader.students()
    reader.close()
    return student


def test_a_rollout_that_dies_anywhere_promotes_once_a_step(begun, tmp_path) -> None:
    taught = shutil.copytree(begun, tmp_path / "taught")
    attempt(taught, tmp_path / "policies", 0)
    whole = shutil.copytree(taught, tmp_path / "whole")
    assert rolled_out(Home(whole), tmp_path / "policies", lambda: 0) > 4
    expected = state(whole)
    assert expected[0][0][1] == Stage.LIVE
    for seed in range(2):
        rng = random.Random(SEED + seed)
        root = shutil.copytree(taught, tmp_path / f"seed-{seed}")
        rolled_out(Home(root), tmp_path / "policies", lambda: rng.choice([0, 1, 2, 3, 4]))  # noqa: B023
        rolled_out_to_the_end(Home(root), tmp_path / "policies")
        students, told, certified = state(root)
        assert [one[1] for one in students] == [Stage.LIVE]
        assert (told, set(certified)) == (expected[1], set(expected[2]))


def rolled_out_to_the_end(home: Home, folder: Path) -> None:
    for _ in range(3):
        if _student(home).stage != Stage.LIVE:
            rolled_out(home, folder, lambda: 0)
