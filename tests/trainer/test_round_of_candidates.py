"""Several candidates in one round: all are trained, one is picked by calibration calls, and its certificate shows it."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lesson_home import FINGERPRINT, pair, policies, store_records, with_calls
from msgspec import UNSET

from gateway.policy.files import PolicyError, load
from gateway.storage.commands import EnqueueRun
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import WishRecord
from gateway.storage.writing.writers import open_writer
from optimizer.cascade import Calibration, merit
from optimizer.certificate import Certificate, Screening, chain_problems, conclude, read_envelope, recompute
from optimizer.rollout import Stage
from optimizer.stats.multiplicity import spend
from trainer.certify import Issuer
from trainer.job import execute, learning_task
from trainer.lesson import Lesson
from trainer.planner import longest_s
from trainer.promoter import Promoter
from trainer.recipes import ways

TWO = ", candidates: {most: 2}"


class Killed(BaseException):
    """Nothing in the product catches this."""


class Said:
    """Hears what a lesson says, and stops it at a given sentence."""

    def __init__(self, stop_at: int = 0) -> None:
        self.lines: list[str] = []
        self.count, self._stop_at = 0, stop_at

    def __call__(self, _progress: float, _step: str, message: str = "", _data: Any = None, **_: Any) -> None:
        self.count += 1
        if message:
            self.lines.append(message)
        if self.count == self._stop_at:
            raise Killed


@pytest.fixture(scope="module")
def begun(tmp_path_factory, make_tickets) -> Path:
    """A home with captured calls, whose answers a classifier and an extractor can learn, and an open run."""
    home = with_calls(tmp_path_factory.mktemp("round") / "home", make_tickets(700, noise=0.0), at=1000.0)
    writer = open_writer(home)
    writer.execute(EnqueueRun("train", "p", "triage", FINGERPRINT, {"trainable_calls": 700}, 1500.0))
    writer.close()
    return home.root


def attempt(root: Path, folder: Path, learn: str, said: Said, now: Any = lambda: 2000.0) -> dict[str, Any] | None:
    home = Home(root)
    task, rules = learning_task(load(policies(folder, learn=learn), {}), "triage")
    reader, writer = open_reader(home), open_writer(home)
    try:
        (run,) = reader.runs()
        return execute(Lesson(run, task, rules, home, reader, writer, Issuer.of(home), said, now))
    except Killed:
        return None
    finally:
        writer.close()
        reader.close()


def screening_of(root: Path) -> Certificate:
    (path,) = (root / "certificates").glob("*-shadow-*.json")
    return read_envelope(path.read_bytes()).certificate


def metrics_of(root: Path) -> dict[str, Any]:
    reader = open_reader(Home(root))
    (student,) = reader.students()
    found: dict[str, Any] = reader.student_detail(student.id)["metrics"]
    reader.close()
    return found


@pytest.fixture(scope="module")
def settled(begun, tmp_path_factory) -> tuple[Path, dict[str, Any], Said]:
    folder = tmp_path_factory.mktemp("settled")
    root, said = Path(shutil.copytree(begun, folder / "home")), Said()
    result = attempt(root, folder / "policies", TWO, said)
    assert result is not None
    return root, result, said


def test_every_able_recipe_is_trained_and_the_best_goes_on(settled) -> None:
    root, result, said = settled
    told = metrics_of(root)["candidates"]
    assert [one["name"] for one in told] == ["classifier", "extractor"]
    (picked,) = [one for one in told if one["picked"]]
    assert picked["artifact"] == result["artifact"] and picked["answered"] == max(one["answered"] for one in told)
    assert sum(line.startswith("candidate ") for line in said.lines) == 2
    assert sum("it is picked" in line for line in said.lines) == 1
    assert [path.name for path in (root / "artifacts").iterdir()] == [result["student"]]


def test_the_certificate_shows_the_round_and_divides_delta_alone(settled) -> None:
    certificate = screening_of(settled[0])
    assert recompute(certificate) == []
    levels = certificate.multiplicity
    assert (levels.candidates, levels.picked) == (2, "calibration")
    assert levels.delta == spend(0.05, 1) / 2
    assert levels.alpha == levels.e_lond == spend(0.05, 1)


def test_a_worse_pick_or_a_hidden_candidate_is_found_out(settled) -> None:
    certificate = screening_of(settled[0])
    evidence = certificate.evidence
    assert isinstance(evidence, Screening) and evidence.rivals
    hidden = msgspec.structs.replace(certificate, evidence=msgspec.structs.replace(evidence, rivals=UNSET))
    assert any("2 candidates, but it shows 1" in one for one in recompute(conclude(hidden)))
    better = msgspec.structs.replace(evidence.rivals[0], calibration=tuple((1.0, True) for _ in evidence.calibration))
    wrong = tuple((sure, agreed and number % 9 > 0) for number, (sure, agreed) in enumerate(evidence.calibration))
    worse = msgspec.structs.replace(evidence, calibration=wrong, rivals=(better,))
    assert any("did better" in one for one in recompute(conclude(msgspec.structs.replace(certificate, evidence=worse))))
    silent = msgspec.structs.replace(certificate.multiplicity, picked=UNSET)
    assert recompute(conclude(msgspec.structs.replace(certificate, multiplicity=silent)))


def test_the_gates_judge_the_picked_one_at_the_whole_alpha(settled, tmp_path) -> None:
    root = Path(shutil.copytree(settled[0], tmp_path / "home"))
    home, config = Home(root), load(policies(tmp_path / "policies", learn=TWO), {})
    reader, writer = open_reader(home), open_writer(home)
    (student,) = reader.students()
    shown = [pair(student, number, "shadow", agree=True) for number in range(500)]
    store_records(home, [msgspec.structs.replace(one, confidence=1.0) for one in shown])
    Promoter(reader, writer, Issuer.of(home), root / "standings.json", lambda: 3000.0).tick(config)
    (moved,) = reader.students()
    writer.close()
    reader.close()
    assert moved.stage == Stage.CANARY
    (path,) = (root / "certificates").glob("*-canary-*.json")
    proof, before = read_envelope(path.read_bytes()).certificate, screening_of(root)
    assert recompute(proof) == [] and chain_problems(proof, before) == []
    assert proof.terms.alpha == spend(0.05, 1)
    other = msgspec.structs.replace(
        before, multiplicity=msgspec.structs.replace(before.multiplicity, candidates=3)
    )
    assert any("candidates" in one for one in chain_problems(proof, other))


def test_a_round_that_dies_anywhere_picks_the_same_one(begun, settled, tmp_path) -> None:
    whole, expected, said = settled
    rng = random.Random(20261129)
    for point in sorted(rng.sample(range(1, said.count), 2)):
        root = Path(shutil.copytree(begun, tmp_path / f"at-{point}"))
        assert attempt(root, tmp_path / "policies", TWO, Said(point)) is None
        found = attempt(root, tmp_path / "policies", TWO, Said())
        assert found is not None
        again = attempt(root, tmp_path / "policies", TWO, Said())  # its end was not heard of
        for one in (found, again):
            assert {**one, "certificate": ""} == {**expected, "certificate": ""}, f"died at {point}"
        assert screening_of(root).evidence == screening_of(whole).evidence
        assert [path.name for path in (root / "artifacts").iterdir()] == [expected["student"]]
        shutil.rmtree(root)


def test_what_was_trained_already_is_not_trained_again(begun, tmp_path, monkeypatch) -> None:
    root = Path(shutil.copytree(begun, tmp_path / "home"))
    real = os.link

    def dies(source: str, target: str, **more: Any) -> None:
        if ".draft" in str(target):  # what is published, and no key
            raise Killed
        real(source, target, **more)

    monkeypatch.setattr(os, "link", dies)
    assert attempt(root, tmp_path / "policies", TWO, Said()) is None
    monkeypatch.setattr(os, "link", real)
    said = Said()
    assert attempt(root, tmp_path / "policies", TWO, said) is not None
    assert not any(line.startswith("training candidate") for line in said.lines)


def test_no_candidate_is_begun_when_the_time_is_over(begun, tmp_path) -> None:
    root, said = Path(shutil.copytree(begun, tmp_path / "home")), Said()
    clock = iter(range(0, 10**9, 7200))
    late = ", candidates: {most: 3, max_hours: 0.5}"
    assert attempt(root, tmp_path / "policies", late, said, lambda: float(next(clock)))
    assert any("extractor: not begun, 0.5 hours were over" in line for line in said.lines)
    certificate = screening_of(root)
    assert (certificate.multiplicity.candidates, certificate.multiplicity.picked) == (1, UNSET)
    assert recompute(certificate) == []


def test_one_candidate_stays_the_default(begun, tmp_path) -> None:
    root = Path(shutil.copytree(begun, tmp_path / "home"))
    assert attempt(root, tmp_path / "policies", "", Said())
    certificate = screening_of(root)
    assert certificate.multiplicity.candidates == 1 and "candidates" not in metrics_of(root)
    assert b"picked" not in msgspec.json.encode(certificate) and b"rivals" not in msgspec.json.encode(certificate)


def test_features_are_varied_behind_the_recipes() -> None:
    names = [one.name for one in ways("auto", encoder="/e", base=True, varied=True)]
    assert names == [
        "classifier", "extractor", "sft", "classifier-tfidf", "extractor-tfidf", "classifier-embedding"
    ]  # fmt: skip
    assert [one.name for one in ways(["extractor"], encoder="/e", features="tfidf", varied=True)] == ["extractor"]
    assert [one.name for one in ways("auto", varied=True)] == ["classifier", "extractor"]


def test_a_certified_candidate_stands_before_a_provisional_one_that_answers_more() -> None:
    def one(answered: int, threshold: float | None = 0.5, provisional: bool = False) -> Calibration:
        return Calibration(
            threshold=threshold, n=200, answered=answered, agreed=answered, lower=0.9, level=0.01, tested=3,
            target=0.95, delta=0.05, min_answered=100, provisional=provisional,
        )  # fmt: skip

    assert merit(one(110)) > merit(one(180, provisional=True)) > merit(one(0, threshold=None))
    assert merit(one(120)) > merit(one(110))


def test_a_single_way_to_train_is_an_error(tmp_path) -> None:
    with pytest.raises(PolicyError, match="one candidate a round"):
        load(policies(tmp_path / "policies", learn=f"{TWO}, recipes: [classifier]"), {})


def test_a_round_may_take_as_long_as_its_candidates(tmp_path) -> None:
    config = load(policies(tmp_path / "policies", learn=TWO), {})
    assert longest_s(config, "triage", 600.0) == 1200.0


# ---------------------------------------------------------------- several of them in shadow side by side
BESIDE = ", candidates: {most: 2, together: 2}"


@pytest.fixture(scope="module")
def beside(begun, tmp_path_factory) -> tuple[Path, dict[str, Any], Said]:
    folder = tmp_path_factory.mktemp("beside")
    root, said = Path(shutil.copytree(begun, folder / "home")), Said()
    result = attempt(root, folder / "policies", BESIDE, said)
    assert result is not None
    return root, result, said


def proofs_of(root: Path, stage: str) -> dict[str, Certificate]:
    found = [read_envelope(path.read_bytes()).certificate for path in (root / "certificates").glob(f"*-{stage}-*.json")]
    return {one.student: one for one in found}


def test_several_candidates_stand_in_shadow_side_by_side_and_share_alpha(beside) -> None:
    root, result, _ = beside
    reader = open_reader(Home(root))
    students = reader.students()
    reader.close()
    assert [(one.stage, one.version, one.round) for one in students] == [(Stage.SHADOW, 1, 1), (Stage.SHADOW, 2, 1)]
    assert sorted(result["students"]) == [one.id for one in students] and result["student"] == result["students"][0]
    assert {path.name for path in (root / "artifacts").iterdir()} == {one.id for one in students}
    screenings = proofs_of(root, "shadow")
    assert len(screenings) == 2
    for certificate in screenings.values():
        assert recompute(certificate) == []
        levels = certificate.multiplicity
        assert (levels.candidates, levels.picked, levels.together) == (2, "calibration", 2)
        assert levels.alpha == levels.delta == levels.e_lond == spend(0.05, 1) / 2
        alone = msgspec.structs.replace(certificate, multiplicity=msgspec.structs.replace(levels, together=UNSET))
        assert any("alpha" in one for one in recompute(conclude(alone)))  # nobody takes the whole of it


def test_a_side_by_side_round_that_dies_half_registered_ends_the_same(begun, beside, tmp_path) -> None:
    whole, expected, said = beside
    root = Path(shutil.copytree(begun, tmp_path / "home"))
    assert attempt(root, tmp_path / "policies", BESIDE, Said(said.count)) is None  # the first is registered, no more
    found = attempt(root, tmp_path / "policies", BESIDE, Said())
    again = attempt(root, tmp_path / "policies", BESIDE, Said())  # its end was not heard of
    for one in (found, again):
        assert one is not None and {**one, "certificate": ""} == {**expected, "certificate": ""}
    mine, theirs = proofs_of(root, "shadow"), proofs_of(whole, "shadow")
    assert {name: one.evidence for name, one in mine.items()} == {name: one.evidence for name, one in theirs.items()}


@pytest.mark.parametrize("approval", ["automatic", "manual"])
def test_the_first_that_is_proven_goes_on_and_its_round_is_over(beside, tmp_path, approval) -> None:
    """Both pass at one look; the one that answers more goes on, unless a person chose."""
    root = Path(shutil.copytree(beside[0], tmp_path / "home"))
    home = Home(root)
    folder = policies(tmp_path / "policies", learn=BESIDE, approval=approval)
    (folder / "gates.yaml").write_text("promotion: {shadow: {gates: [{type: agreement}]}}\n")
    config = load(folder, {})
    reader, writer = open_reader(home), open_writer(home)
    first, second = reader.students()
    told = []
    for student, every in ((first, 2), (second, 1)):  # the first answers every other call
        for number in range(800):
            one = pair(student, number, "shadow", agree=True)
            told.append(msgspec.structs.replace(one, confidence=1.0, answered=number % every == 0))
    store_records(home, told)
    promoter = Promoter(reader, writer, Issuer.of(home), root / "standings.json", lambda: 3000.0)
    winner = second
    if approval == "manual":
        promoter.tick(config)
        standings = msgspec.json.decode((root / "standings.json").read_bytes())
        assert [one["waits_for_approval"] for one in standings] == [True, True]
        store_records(home, [WishRecord(student=first.id, action="promote", actor="ann", reason="ok", at=3000.0)])
        winner = first
    for _ in range(2):
        promoter.tick(config)
    stages = {one.id: one.stage for one in reader.students()}
    writer.close()
    reader.close()
    assert stages == {first.id: Stage.RETIRED, second.id: Stage.RETIRED, winner.id: Stage.CANARY}
    (proof,) = proofs_of(root, "canary").values()
    assert recompute(proof) == [] and chain_problems(proof, proofs_of(root, "shadow")[winner.id]) == []
    assert proof.terms.alpha == spend(0.05, 1) / 2


def test_more_side_by_side_than_are_trained_is_an_error(tmp_path) -> None:
    with pytest.raises(PolicyError, match="3 of 2 candidates"):
        load(policies(tmp_path / "policies", learn=", candidates: {most: 2, together: 3}"), {})
