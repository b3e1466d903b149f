"""Slices that a lesson finds in what its student learns from."""

from __future__ import annotations

from pathlib import Path

import pytest
from lesson_home import FINGERPRINT, policies, with_calls

from gateway.policy.files import PolicyError, load
from gateway.storage.commands import EnqueueRun
from gateway.storage.reading.reader import open_reader
from gateway.storage.writing.writers import open_writer
from optimizer.certificate import read_envelope, recompute
from optimizer.slices import slice_of
from trainer.certify import Issuer
from trainer.job import execute, learning_task
from trainer.lesson import Lesson


def test_a_student_carries_the_clusters_it_was_taught_on(tmp_path: Path, make_tickets) -> None:
    calls = make_tickets(600, noise=0.0)
    home = with_calls(tmp_path / "home", calls, at=1000.0)
    writer, reader = open_writer(home), open_reader(home)
    run = writer.execute(EnqueueRun("train", "p", "triage", FINGERPRINT, {"trainable_calls": 600}, 1500.0))
    learn = ", found_slices: 4, slices: [{name: urgent, max_chars: 40}]"
    task, rules = learning_task(load(policies(tmp_path / "policies", learn=learn), {}), "triage")
    said: list[str] = []
    lesson = Lesson(
        run, task, rules, home, reader, writer, Issuer.of(home), lambda *told, **_: said.extend(map(str, told)),
        lambda: 2e3,
    )
    execute(lesson)
    (student,) = reader.students()
    names = [one.name for one in student.slices]
    assert names[0] == "urgent" and 2 <= len(names) - 1 <= 4 and all(one.startswith("cluster-") for one in names[1:])
    told = reader.student_detail(student.id)["metrics"]["clusters"]
    assert list(told) == names[1:] and all(one["words"] and one["share"] >= 0.03 for one in told.values())
    assert any("a cluster of" in one for one in said)
    parts = [slice_of(student.slices, metadata={}, text=text, answer=None) for text, _ in calls]
    assert set(names[1:]) <= set(parts)
    (path,) = home.certificates.glob("*.json")
    certificate = read_envelope(path.read_bytes()).certificate
    assert recompute(certificate) == []
    writer.close()
    reader.close()


@pytest.mark.parametrize("slice", ["{name: cluster-1, max_chars: 5}", "{name: mine, centroid: {ab: 1.0}}"])
def test_a_declared_slice_is_not_written_like_a_found_one(tmp_path: Path, slice: str) -> None:
    with pytest.raises(PolicyError, match="found_slices"):
        load(policies(tmp_path / "policies", learn=f", slices: [{slice}]"), {})
