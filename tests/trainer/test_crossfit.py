"""Cross-fitted calibration: every captured call teaches, and none calibrates a model that saw it."""

from __future__ import annotations

import random

import msgspec
import pytest

from gateway.config import Config, Learn, Task, Teacher
from gateway.storage.values import TaskVersion, TrainingCall
from optimizer.gates import Terms
from optimizer.rollout import Stage, Student
from trainer.artifacts.registry import as_trained, store
from trainer.datasets.versions import assemble
from trainer.evaluate import examine
from trainer.planner import due
from trainer.recipes import Example, train_first

TERMS = Terms(target=0.95, margin=0.02, alpha=0.05, delta=0.05)
WORDS = {
    "billing": "invoice refund charge card",
    "shipping": "parcel late courier box",
    "access": "login reset code",
}


def calls(count: int, *, noise: float = 0.0, since: float = 1000.0) -> list[TrainingCall]:
    rng = random.Random(4)
    made = []
    for number in range(count):
        label = rng.choice(sorted(WORDS))
        text = f"{rng.choice(WORDS[label].split())} {rng.choice(WORDS[label].split())} case {number % 97} x{number}"
        answer = rng.choice(sorted(WORDS)) if rng.random() < noise else label
        made.append(
            TrainingCall(
                f"c{number}", since + number, f"g{number // 2}", "k", "", "", text, answer, "stop", 2, {}
            )
        )
    return made


def version_of(given: list[TrainingCall], **more: float):
    return assemble(
        given, project="p", task="t", fingerprint="f", run="r", masked=False, crossfit=True, **more
    )


def learn(version):
    rows = version.part("train")
    examples = [Example(r.text, r.answer, r.tokens, r.weight, r.fold) for r in rows]
    return train_first("auto", examples, seed=1, tick=lambda *_: None)[1]


def test_nothing_is_put_aside_but_a_small_holdout_and_groups_stay_together() -> None:
    version = version_of(calls(1000))
    assert version.part("calibration") == []
    assert 20 <= len(version.part("holdout")) <= 90
    fold, groups = {row.call: row.fold for row in version.part("train")}, {}
    assert set(fold.values()) == {0, 1, 2, 3, 4}
    plain = {row.text: row for row in version.part("train")}
    for call in calls(1000):
        if call.text in plain:
            groups.setdefault(call.group, set()).add(plain[call.text].fold)
    assert all(len(folds) == 1 for folds in groups.values())


def test_what_curation_left_out_calibrates_but_does_not_teach() -> None:
    given = calls(400)
    given += [
        msgspec.structs.replace(one, call_id=f"again{n}", answer="odd") for n, one in enumerate(given[:40])
    ]
    given += [msgspec.structs.replace(one, call_id=f"third{n}") for n, one in enumerate(given[:40])]
    version = version_of(given)
    dropped = [row for row in version.part("train") if row.weight == 0]
    assert dropped and any(row.answer == "odd" for row in dropped)
    trained = learn(version)
    assert "odd" not in trained.answers
    exam = examine(trained, version, terms=TERMS, comparison="exact")
    assert len(exam.evidence.calibration) == len(version.part("train"))
    assert sum(not agreed for _, agreed in exam.evidence.calibration) >= sum(
        row.answer == "odd" for row in dropped
    )


def test_the_cross_fitted_agreement_is_that_of_unseen_calls() -> None:
    given = calls(1500, noise=0.2)
    exam = examine(learn(version := version_of(given)), version, terms=TERMS, comparison="exact")
    share = sum(agreed for _, agreed in exam.evidence.calibration) / len(exam.evidence.calibration)
    assert share == pytest.approx(0.8 + 0.2 / 3, abs=0.04)  # fitted rows would be nearer to 1


def test_the_stored_student_keeps_what_calibrated_it(tmp_path) -> None:
    version = version_of(calls(400))
    trained = learn(version)
    artifact = store(tmp_path / "s-v1", "classifier", trained, version.digest, 1)
    assert as_trained(artifact).crossfit == trained.crossfit
    assert examine(as_trained(artifact), version, terms=TERMS, comparison="exact").evidence == (
        examine(trained, version, terms=TERMS, comparison="exact").evidence
    )


def test_calls_from_before_a_change_teach_a_little_and_calibrate_nothing() -> None:
    version = version_of(calls(600), fresh_since=1300.0)
    stale = [row for row in version.part("train") if row.weight == 0.25]
    assert stale and not any(row.calibrates for row in stale)
    assert sum(row.calibrates for row in version.part("train")) > 200


@pytest.mark.parametrize(
    ("stages", "captured", "growth", "queued"),
    [
        ([Stage.LIVE], 1999, 2.0, False),
        ([Stage.LIVE], 2000, 2.0, True),
        ([Stage.LIVE], 9000, None, False),
        ([Stage.LIVE, Stage.CANARY], 9000, 2.0, False),
        ([Stage.SHADOW], 9000, 2.0, False),
    ],
)
def test_a_successor_is_trained_when_the_calls_have_grown(stages, captured, growth, queued, make_run) -> None:
    learn = Learn(min_calls=1000, min_new_calls=500, growth=growth)
    task = Task(name="t", teacher=Teacher("t", "m", may_train_on_outputs=True), learn=learn)
    students = [
        Student(f"s{n}", "p", "t", "f", n, "classifier", n, 0.9, stage) for n, stage in enumerate(stages)
    ]
    version = TaskVersion("p", "t", "f", version=1, first_seen=0.0, trainable_calls=captured)
    found = due(Config(tasks=[task]), [version], students, [make_run(1000)], [], 5000.0)
    assert bool(found) is queued


@pytest.fixture
def make_run():
    from gateway.storage.values import Run

    def run(captured: int) -> Run:
        return Run(
            id="r", kind="train", project="p", task="t", fingerprint="f", state="succeeded", attempt=1,
            params={"trainable_calls": captured}, result={}, error="", progress=1.0, step="", created_at=1.0,
            started_at=None, finished_at=None, heartbeat_at=None, cancel_requested=False,
        )  # fmt: skip

    return run


def test_few_calls_suggest_a_threshold_where_the_policies_allow_it() -> None:
    version = version_of(calls(90))
    trained = learn(version)
    strict = examine(trained, version, terms=TERMS, comparison="exact")
    early = examine(trained, version, terms=TERMS, comparison="exact", provisional=True)
    assert strict.calibration.threshold is None
    assert early.calibration.threshold is not None
    assert early.calibration.provisional
