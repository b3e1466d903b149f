"""The classifier recipe end to end on a small task, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from trainer.artifacts.artifact import ArtifactRefused, load
from trainer.artifacts.predictor import answer as answered
from trainer.artifacts.predictor import probabilities
from trainer.artifacts.registry import as_trained, store
from trainer.features.terms import features, learn_vocabulary
from trainer.recipes import CannotLearn, Example, train_first


def learn(pairs, seed=1):
    return train_first("auto", [Example(*pair) for pair in pairs], seed=seed, tick=lambda *_: None)[1]


def test_it_answers_like_the_teacher_byte_for_byte(trained, make_tickets) -> None:
    fresh = make_tickets(300, seed=9, noise=0)
    table = probabilities(trained.parameters, [text for text, _ in fresh])
    assert np.allclose(table.sum(axis=1), 1)
    answers = [trained.answers[column] for column in table.argmax(axis=1)]
    agreed = np.mean([given == wanted for given, (_, wanted) in zip(answers, fresh, strict=True)])
    assert agreed > 0.97
    assert trained.max_answer_tokens == 6


def test_equal_examples_and_seed_make_an_equal_artifact(make_tickets, tmp_path) -> None:
    pairs = make_tickets(200)
    digests = {
        store(tmp_path / name / "s-v1", "classifier", learn(pairs), "d" * 64, 1).digest
        for name in ("one", "two")
    }
    assert len(digests) == 1


def test_confidence_is_calibrated_enough_to_rank(trained, make_tickets) -> None:
    known = probabilities(trained.parameters, [text for text, _ in make_tickets(100, seed=3)]).max(axis=1)
    strange = probabilities(trained.parameters, ["qqq zzz", "", "完全に別の話"]).max(axis=1)
    assert np.median(known) > 0.9 > strange.max()


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([(f"question {n}", f"{n % 7} words of {n**3 % 101}") for n in range(100)], "not a closed answer set"),
        ([("hello there", "yes")] * 10, "only 10 usable examples"),
        ([(f"hello {n} there", "yes") for n in range(50)], "the same answer"),
    ],
)
def test_it_says_why_it_cannot_do_a_task(pairs, reason) -> None:
    with pytest.raises(CannotLearn, match=reason):
        learn(pairs)


def test_two_answers_one_of_them_rare(make_tickets) -> None:
    pairs = [
        (text, "rare" if number % 20 == 0 else "common") for number, (text, _) in enumerate(make_tickets(100))
    ]
    pairs += [(f"the moon base calls, code {number} moon", "rare") for number in range(5)]
    made = learn(pairs)
    assert made.answers == ("common", "rare")
    row = probabilities(made.parameters, ["moon base calls moon"])[0]
    assert row[1] > row[0]


def test_a_huge_input_costs_a_bounded_amount_of_work(trained) -> None:
    vocabulary, idf = trained.parameters.vocabulary, trained.parameters.idf
    columns, weight = features("printer " * 1_000_000, vocabulary, idf)
    assert np.isfinite(weight).all()
    assert len(columns) < 100


def test_the_vocabulary_leaves_out_what_one_text_alone_says() -> None:
    vocabulary, idf = learn_vocabulary(["red apple", "red pear"])
    assert "red" in vocabulary.words
    assert "apple" not in vocabulary.words
    assert len(idf) == vocabulary.size


# ---------------------------------------------------------------- artifacts
def test_an_artifact_comes_back_as_it_was_stored(artifact, trained) -> None:
    folder, stored = artifact
    again = as_trained(load(folder))
    assert again.answers == trained.answers
    texts = ["the printer jams", "vpn refuses me"]
    assert np.array_equal(probabilities(again.parameters, texts), probabilities(trained.parameters, texts))
    assert load(folder).digest == stored.digest
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}


class _Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def _pickle(folder: Path) -> None:
    _replace(folder, "model.safetensors", pickle.dumps(_Bomb()))


def _extra_pickle(folder: Path) -> None:
    (folder / "model.pkl").write_bytes(pickle.dumps(_Bomb()))


def _flipped_byte(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _oversize_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = data[8 : 8 + size] + b" " * (1 << 20)
    _replace(folder, path.name, struct.pack("<Q", len(header)) + header + data[8 + size :])


def _header_beyond_the_file(folder: Path) -> None:
    _replace(folder, "model.safetensors", struct.pack("<Q", 1 << 60) + b"{}")


def _overlapping_tensors(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    header["bias"]["data_offsets"] = header["idf"]["data_offsets"]
    text = json.dumps(header).encode()
    _replace(folder, path.name, struct.pack("<Q", len(text)) + text + data[8 + size :])


def _link(folder: Path) -> None:
    path = folder / "vocabulary.json"
    outside = folder.parent / "outside.json"
    path.rename(outside)
    path.symlink_to(outside)


def _unknown_key(folder: Path) -> None:
    _edit(folder, lambda manifest: manifest | {"auto_map": "evil.py"})


def _path_in_manifest(folder: Path) -> None:
    _edit(folder, lambda m: m | {"files": m["files"] | {"../../etc/passwd": "0" * 64}})


def _other_student(folder: Path) -> None:
    _edit(folder, lambda manifest: manifest | {"student": "../other"})


def _fewer_answers(folder: Path) -> None:
    _edit(folder, lambda manifest: manifest | {"answers": manifest["answers"][:-1]})


def _edit(folder: Path, change) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def _replace(folder: Path, name: str, data: bytes) -> None:
    """Also with the right hash, as somebody who can write the folder would."""
    (folder / name).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    _edit(folder, lambda manifest: manifest | {"files": manifest["files"] | {name: digest}})


@pytest.mark.parametrize(
    "harm",
    [
        _pickle, _extra_pickle, _flipped_byte, _oversize_header, _header_beyond_the_file, _overlapping_tensors,
        _link, _unknown_key, _path_in_manifest, _other_student, _fewer_answers,
    ],
)  # fmt: skip
def test_a_hostile_artifact_is_refused(artifact, harm, monkeypatch, tmp_path) -> None:
    folder, _ = artifact
    monkeypatch.chdir(tmp_path)
    harm(folder)
    with pytest.raises(ArtifactRefused) as refusal:
        load(folder)
    assert str(tmp_path) not in str(refusal.value)
    assert not Path("exploded").exists()


def test_the_words_of_an_answer_teach_a_little() -> None:
    """While calls are few, a call that names an answer is a little likelier to have it."""
    answers = ("card_arrival", "exchangeRate", "PIN blocked")
    words, about = ("arrival", "rate", "blocked"), ("now", "today", "why", "soon")
    texts = [f"{word} {more}" for word in words for more in about]
    pairs = [(text, answer) for text in texts for answer in answers]  # the words themselves tell nothing
    named = learn(pairs)
    mute = learn([(text, str(answers.index(answer))) for text, answer in pairs])
    for word, answer in (("arrival", 0), ("rate", 1), ("blocked", 2)):
        said = probabilities(named.parameters, [f"{word} now"])[0]
        assert named.answers[int(said.argmax())] == answers[answer]
        assert np.ptp(probabilities(mute.parameters, [f"{word} now"])[0]) < 1e-6


def test_hints_are_no_calls() -> None:
    rows = [Example(f"{word} {n}", f"{word}_case", fold=n % 5) for n in range(20) for word in ("lost", "late")]
    _, student = train_first("auto", rows, seed=1, tick=lambda *_: None)
    assert len(student.crossfit) == len(rows)
    assert student.numbers["rows"] == len(rows)


@pytest.mark.parametrize("crossfit", [False, True])
def test_answers_outside_the_set_teach_it_to_abstain(crossfit: bool, tmp_path) -> None:
    """One call in twenty-five has an answer of its own; the student does not squeeze such calls into the set."""
    rows = []
    for number in range(500):
        kind = ("billing", "shipping")[number % 2]
        text, said = f"my {('invoice', 'parcel')[number % 2]} {number}", kind
        if number % 25 == 0:
            text, said = f"tell me a poem about {('rain', 'snow')[number % 2]} {number}", f"Once upon {number}"
        rows.append(Example(text, said, 1, fold=number // 25 % 5 if crossfit else None))
    name, trained = train_first("auto", rows, seed=1, tick=lambda *_: None)
    assert (name, trained.answers) == ("classifier", ("billing", "shipping"))
    artifact = store(tmp_path / "s-v1", name, trained, "d" * 64, 1)
    assert artifact.manifest.abstains
    asked = ["tell me a poem about rain 9", "my invoice 9", "my parcel 9"]
    poem, invoice, parcel = answered(artifact.parameters, trained.answers, asked)
    assert poem[0][1] < 0.3
    assert [one[0][0] for one in (invoice, parcel)] == ["billing", "shipping"]
    assert min(invoice[0][1], parcel[0][1]) > 0.8
    if crossfit:
        strangers = [sure for number, (sure, _) in enumerate(trained.crossfit) if number % 25 == 0]
        assert max(strangers) < 0.5
