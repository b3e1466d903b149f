"""An encoder that is trained itself: torch computes what numpy serves, a kill costs nothing, and what is stored is
what was learnt."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from test_encoder import tiny_bert

from gateway.config import FineTune
from gateway.local_models import encoder as encoders
from trainer.artifacts.artifact import Artifact, ArtifactRefused, load
from trainer.artifacts.predictor import answer
from trainer.artifacts.registry import store
from trainer.recipes import SAME, TAUGHT, CannotLearn, Example, Means, train_first

KINDS = {"billing": ["refund", "invoice", "charge"], "shipping": ["parcel", "late", "box"]}


def tickets(count: int, *, folds: bool = True) -> list[Example]:
    """A label and a span that is copied: the only made-up word of the text."""
    rng, made = random.Random(1), []
    for number in range(count):
        kind = rng.choice(sorted(KINDS))
        name = f"{rng.choice('XYZ')}{rng.randrange(100, 999)}"
        text = f"my {rng.choice(KINDS[kind])} is {name} about the {rng.choice(KINDS[kind])}"
        said = json.dumps({"kind": kind, "order": name})
        made.append(Example(text, said, 9, fold=number % 5 if folds else None))
    return made


def learn(rows: list[Example], folder: Path, workspace: Path, tick=lambda *_: None, **changes):
    pytest.importorskip("torch")
    means = Means(workspace=workspace, fine_tune=FineTune(**{"epochs": 4, "learning_rate": 3e-3, **changes}))
    return train_first("auto", rows, seed=1, tick=tick, encoder=str(folder), means=means)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("encoders") / "bert")


@pytest.fixture(scope="module")
def taught(folder, tmp_path_factory) -> Artifact:
    home = tmp_path_factory.mktemp("taught")
    name, trained = learn(tickets(200), folder, home / "work")
    assert name == "extractor"
    return store(home / "s-v1", name, trained, "d" * 64, 1)


def test_torch_computes_what_numpy_serves(folder) -> None:
    torch = pytest.importorskip("torch")
    from trainer.training.reader import Reader
    from trainer.training.sights import Sizes

    encoder = encoders.load(str(folder))
    pieces = encoder.pieces(["my refund is late", "the box", "where is the parcel about my invoice"])
    reader = Reader(encoder, Sizes(1, 3, 0, ())).eval()
    with torch.no_grad():
        hidden, _ = reader.hidden([one.ids for one in pieces])
    for one, mine in zip(encoder.read(pieces), hidden.numpy(), strict=True):
        assert np.allclose(one, mine[: len(one)], atol=1e-4)


def test_it_learns_and_what_is_stored_answers_the_same(taught) -> None:
    assert taught.manifest.encoder is not None
    assert taught.manifest.encoder.tuned
    fresh = tickets(260)[200:]
    said = [ranked[0] for ranked in answer(taught.parameters, (), [one.text for one in fresh])]
    assert sum(given == one.answer for (given, _), one in zip(said, fresh, strict=True)) >= 55
    assert all(0 <= sure <= 1 for _, sure in said)


def test_only_the_fold_that_was_kept_away_calibrates(taught) -> None:
    marks = taught.manifest.crossfit
    assert {number % 5 for number, (_, verdict) in enumerate(marks) if verdict != TAUGHT} == {0}
    judged = [verdict for number, (_, verdict) in enumerate(marks) if number % 5 == 0]
    assert len(judged) == 40
    assert sum(verdict == SAME for verdict in judged) >= 35


def test_a_training_that_was_killed_ends_with_the_same_bytes(taught, folder, tmp_path) -> None:
    class Killed(Exception):
        pass

    def until(done: float, step: str) -> None:
        if step.startswith("step 20 "):
            raise Killed

    with pytest.raises(Killed):
        learn(tickets(200), folder, tmp_path / "work", until)
    seen: list[str] = []
    name, trained = learn(tickets(200), folder, tmp_path / "work", lambda _, step: seen.append(step))
    first = next(step for step in seen if step.startswith("step "))
    assert int(first.split()[1]) > 1, "it began anew instead of resuming"
    assert store(tmp_path / "s-v1", name, trained, "d" * 64, 1).digest == taught.digest


def test_a_classifier_trains_its_encoder_too(folder, tmp_path) -> None:
    rng = random.Random(2)
    rows = [
        Example(f"{rng.choice(['my', 'the'])} {rng.choice(KINDS[kind])} is {rng.choice(KINDS[kind])}", kind, fold=n % 5)
        for n, kind in enumerate(sorted(KINDS) * 60)
    ]
    name, trained = learn(rows, folder, tmp_path / "work", epochs=3)
    assert name == "classifier"
    again = load_again(store(tmp_path / "s-v1", name, trained, "d" * 64, 1), tmp_path)
    said = answer(again.parameters, trained.answers, ["my charge", "the late box"])
    assert [ranked[0][0] for ranked in said] == ["billing", "shipping"]
    assert sum(column != TAUGHT for _, column in trained.crossfit) == 24


def load_again(artifact: Artifact, home: Path) -> Artifact:
    encoders.load.cache_clear()
    return load(home / artifact.manifest.student)


def test_layers_of_another_shape_are_refused(folder, tmp_path) -> None:
    encoder = encoders.load(str(folder))
    layers = encoder.layers()
    name = next(iter(layers))
    with pytest.raises(ValueError, match="not the layers"):
        encoder.tuned({**layers, name: layers[name][:1]})
    with pytest.raises(ValueError, match="not the layers"):
        encoder.tuned({other: one for other, one in layers.items() if other != name})


def test_a_student_without_its_own_layers_is_refused(taught, folder, tmp_path) -> None:
    name, trained = train_first("auto", tickets(60), seed=1, tick=lambda *_: None, encoder=str(folder))
    plain = store(tmp_path / "s-v1", name, trained, "d" * 64, 1)
    manifest = tmp_path / "s-v1" / "manifest.json"
    assert plain.manifest.encoder is not None
    manifest.write_text(manifest.read_text().replace('"tuned":false', '"tuned":true'))
    with pytest.raises(ArtifactRefused, match="exactly the tensors"):
        load(tmp_path / "s-v1")


def test_what_lies_behind_the_encoders_reach_is_never_sure(taught) -> None:
    """The tiny encoder reads 32 pieces; an answer about a longer text may miss what it did not see."""
    text = "my refund is X123 about the invoice"
    (_, near), (_, far) = (ranked[0] for ranked in answer(taught.parameters, (), [text, text + " the box" * 30]))
    assert near > 0.5
    assert far == 0


def test_too_few_calls_are_refused(folder, tmp_path) -> None:
    rows = [Example("my refund is X111 now", '{"kind": "billing", "order": "X111"}', fold=0)] * 60
    with pytest.raises(CannotLearn, match="too few different calls"):
        learn(rows, folder, tmp_path / "work")


def test_vectors_of_a_frozen_encoder_are_features(folder, tmp_path) -> None:
    name, trained = train_first("auto", tickets(150), seed=1, tick=lambda *_: None, encoder=str(folder))
    artifact = store(tmp_path / "s-v1", name, trained, "d" * 64, 1)
    assert artifact.parameters.tag_vectors.shape[0] == 16
    fresh = tickets(200)[150:]
    said = [ranked[0][0] for ranked in answer(artifact.parameters, (), [one.text for one in fresh])]
    assert sum(given == one.answer for given, one in zip(said, fresh, strict=True)) >= 45


def test_a_successor_begins_where_its_predecessor_ended(taught, folder, tmp_path) -> None:
    def first_loss(parent: Artifact | None, name: str) -> tuple[float, Artifact]:
        means = Means(
            workspace=tmp_path / f"{name}.work", fine_tune=FineTune(epochs=1, learning_rate=1e-3), parent=parent
        )
        kind, trained = train_first(
            "auto", tickets(240), seed=1, tick=lambda *_: None, encoder=str(folder), means=means
        )
        return trained.numbers["selection_loss"], store(tmp_path / name, kind, trained, "d" * 64, 1)

    anew, fresh = first_loss(None, "s-v2")
    onwards, successor = first_loss(taught, "s-v3")
    assert onwards < anew
    assert (fresh.manifest.parent, successor.manifest.parent) == (None, taught.digest)
