"""Real training of real (tiny) models on a CPU: it learns, resumes to the same result, and what comes out serves."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from gateway.config import Distillation, Generative, Preferences
from trainer.artifacts.artifact import ArtifactRefused, load
from trainer.artifacts.predictor import answer
from trainer.artifacts.registry import store
from trainer.recipes import CannotLearn, Example, Means, train_first

THINGS = ("printer", "wifi", "invoice", "password")
QUEUES = ("hardware", "network", "billing", "access")


def tickets(count: int = 100) -> list[Example]:
    return [Example(f"my {THINGS[n % 4]} is broken {n}", QUEUES[n % 4], tokens=2) for n in range(count)]


def plan(base: Path, **changes: object) -> Generative:
    found = Generative(
        base=str(base), adapt="full", rank=8, epochs=5, learning_rate=3e-3, batch_tokens=512, max_length=128
    )
    return msgspec.structs.replace(found, **changes)


def train(recipe: str, examples: list[Example], how: Generative, workspace: Path):
    return train_first([recipe], examples, seed=1, tick=lambda *_: None, means=Means(how, workspace))[1]


def test_packed_rows_do_not_see_each_other(torch, base) -> None:
    from trainer.training import bases
    from trainer.training.models import load as load_model
    from trainer.training.objectives import Reader, plain_loss
    from trainer.training.rows import TokenRow

    speaker = load_model(bases.check(base))
    rows = [TokenRow((5, 6, 7), (8, 9)), TokenRow((20, 21), (22, 23, 24)), TokenRow((9,), (30,))]
    reader = Reader(speaker)
    with torch.no_grad():
        together, weight = plain_loss(reader, rows, 0)
        alone = sum(plain_loss(reader, [row], 0)[0] for row in rows)
    assert weight == 6
    assert float(together) == pytest.approx(float(alone), rel=1e-5)


def test_steps_hold_every_row_once_and_do_not_depend_on_when_they_are_asked() -> None:
    from trainer.training.rows import TokenRow, steps_of

    rows = [TokenRow((1,) * (n % 7 + 1), (n,)) for n in range(50)]
    steps = steps_of(rows, epoch=2, seed=4, longest=16, batch_tokens=40)
    assert sorted(row.answer[0] for step in steps for line in step for row in line) == list(range(50))
    assert all(sum(map(len, line)) <= 16 for step in steps for line in step)
    assert all(sum(len(row) for line in step for row in line) <= 40 for step in steps)
    assert steps == steps_of(rows, epoch=2, seed=4, longest=16, batch_tokens=40)
    assert steps != steps_of(rows, epoch=3, seed=4, longest=16, batch_tokens=40)


@pytest.fixture(scope="module")
def taught(torch, base, tmp_path_factory):
    """A LoRA student with its folder."""
    folder = tmp_path_factory.mktemp("taught")
    trained = train("sft", tickets(), plan(base, adapt="lora", learning_rate=1e-2), folder / "work")
    return trained, folder, store(folder / "triage-abcd-v1", "sft", trained, "d" * 64, 1)


def test_an_adapter_learns_a_small_task(taught) -> None:
    trained, _, artifact = taught
    assert trained.numbers["last_loss"] < trained.numbers["first_loss"]
    assert trained.numbers["learnt_parameters"] < trained.numbers["parameters"] / 2
    said = [
        one
        for ((one, _),) in answer(artifact.parameters, [], [f"my {thing} is broken 999" for thing in THINGS])
    ]
    assert said == list(QUEUES)


def test_equal_seeds_give_equal_bytes(taught, base, tmp_path) -> None:
    again = train("sft", tickets(), plan(base, adapt="lora", learning_rate=1e-2), tmp_path / "work")
    artifact = store(tmp_path / "triage-abcd-v1", "sft", again, "d" * 64, 1)
    assert artifact.digest == taught[2].digest


@pytest.mark.parametrize("stop_at", [12])
def test_an_interrupted_run_ends_with_the_same_weights(taught, base, tmp_path, monkeypatch, stop_at) -> None:
    from trainer.training import lesson

    how = plan(base, adapt="lora", learning_rate=1e-2)
    paced = lesson._pace
    monkeypatch.setattr(lesson, "_pace", lambda *a: msgspec.structs.replace(paced(*a), every=1))

    class Killed(Exception):
        pass

    def tick(done: float, step: str) -> None:
        if step.startswith(f"step {stop_at} "):
            raise Killed

    with pytest.raises(Killed):
        train_first(["sft"], tickets(), seed=1, tick=tick, means=Means(how, tmp_path / "work"))
    seen: list[str] = []
    means = Means(how, tmp_path / "work")
    resumed = train_first(["sft"], tickets(), seed=1, tick=lambda _, step: seen.append(step), means=means)[1]
    first = next(step for step in seen if step.startswith("step "))
    assert int(first.split()[1]) >= stop_at, "it began anew instead of resuming"
    assert store(tmp_path / "triage-abcd-v1", "sft", resumed, "d" * 64, 1).digest == taught[2].digest


def test_a_small_model_memorises_what_it_is_shown(torch, base, tmp_path) -> None:
    """Forty arbitrary rows, trained whole: the weights can hold them."""
    examples = [Example(f"case {n}", f"{(n * 7919) % 1000:03d}", tokens=2) for n in range(40)]
    trained = train(
        "sft",
        examples,
        plan(base, epochs=100, patience=100, batch_tokens=384, checkpoint_gradients=False),
        tmp_path,
    )
    assert trained.numbers["last_loss"] < 0.2
    assert trained.numbers["first_loss"] > 4


def test_early_stopping_keeps_the_best_epoch(torch, base, tmp_path) -> None:
    examples = [Example(f"case {n}", f"{(n * 7919) % 1000:03d}", tokens=2) for n in range(60)]
    trained = train("sft", examples, plan(base, epochs=30, patience=2), tmp_path)
    assert trained.numbers["epochs"] < 30


def test_a_whole_model_is_stored_loaded_and_asked(torch, base, tmp_path) -> None:
    trained = train("sft", tickets(), plan(base), tmp_path / "work")
    artifact = store(tmp_path / "whole", "sft", trained, "d" * 64, 1)
    assert artifact.manifest.generation is not None
    assert set(artifact.manifest.environment) >= {"torch", "transformers", "peft"}
    (((said, sure),),) = answer(artifact.parameters, [], ["my wifi is broken 1234"])
    assert said == "network"
    assert 0.5 < sure < 1


def test_an_artifact_that_was_touched_is_refused(taught, tmp_path) -> None:
    def touched(name: str, data: bytes) -> Path:
        folder = tmp_path / name.replace(".", "-") / "triage-abcd-v1"
        shutil.copytree(taught[1] / "triage-abcd-v1", folder)
        (folder / name).write_bytes(data)
        return folder

    weights = (taught[1] / "triage-abcd-v1" / "adapter_model.safetensors").read_bytes()
    for name, data in {
        "adapter_model.safetensors": weights[:-1] + bytes([weights[-1] ^ 1]),
        "adapter_config.json": b'{"peft_type": "LORA", "auto_mapping": {"base_model_class": "x"}}',
        "adapter_model.bin": b"cos",
    }.items():
        with pytest.raises(ArtifactRefused):
            load(touched(name, data))


def test_distilling_from_a_local_teacher(torch, base, taught, tmp_path) -> None:
    """A whole student learns another model's thoughts: each divergence, also on the student's own samples."""
    teacher = train("sft", tickets(), plan(base), tmp_path / "teacher")
    whole = store(tmp_path / "teacher-model", "sft", teacher, "d" * 64, 1)
    for number, (kind, own) in enumerate((("forward_kl", 0.0), ("reverse_kl", 0.0), ("js", 0.5))):
        settings = Distillation(teacher=str(_as_base(whole, tmp_path)), divergence=kind, on_policy=own)
        trained = train(
            "distill", tickets(60), plan(base, epochs=4, distillation=settings), tmp_path / f"w{number}"
        )
        assert trained.numbers["last_loss"] < trained.numbers["first_loss"]
        if kind == "forward_kl":  # from random weights the others settle on one answer first
            assert trained.numbers["held_agreement"] >= 0.5, kind


def _as_base(artifact, tmp_path: Path) -> Path:
    folder = tmp_path / "as-base"
    if not folder.exists():
        shutil.copytree(artifact.parameters.folder, folder)
        (folder / "manifest.json").unlink()
    return folder


def test_distilling_from_captured_alternatives(torch, base, tmp_path) -> None:
    from gateway.storage.values import TokenThought
    from trainer.training import bases
    from trainer.training.alphabet import Alphabet
    from trainer.training.models import load as load_model

    speaker = load_model(bases.check(base))
    alphabet = Alphabet(speaker.tokenizer)

    def heard(example: Example) -> Example:
        tokens = [alphabet.bytes_of(token) for token in speaker.answer(example.answer)[:-1]]
        teacher = tuple(TokenThought(one, ((one, -0.05), (b"e", -4.0))) for one in tokens)
        return msgspec.structs.replace(example, teacher=teacher)

    assert (
        b"".join(alphabet.bytes_of(token) for token in speaker.answer("éö wifi")[:-1]) == "éö wifi".encode()
    )
    trained = train("distill", [heard(one) for one in tickets()], plan(base), tmp_path)
    assert trained.numbers["teacher_heard"] > 0.5
    assert trained.numbers["held_agreement"] >= 0.8
    with pytest.raises(CannotLearn, match=r"capture\.logprobs"):
        train("distill", tickets(), plan(base), tmp_path / "deaf")


@pytest.mark.parametrize("loss", ["dpo", "ipo"])
def test_preferences_move_the_student_away_from_what_was_rejected(torch, base, tmp_path, loss) -> None:
    examples = [
        msgspec.structs.replace(one, rejected=(QUEUES[(number + 1) % 4],))
        for number, one in enumerate(tickets(60))
    ]
    settings = Preferences(loss=loss, beta=0.1)
    trained = train("dpo", examples, plan(base, epochs=3, preferences=settings), tmp_path)
    assert trained.numbers["pairs"] > 45
    assert trained.numbers["preference_last_loss"] < trained.numbers["preference_first_loss"]
    if loss == "dpo":
        assert trained.numbers["preference_first_loss"] == pytest.approx(0.693147, abs=0.05)
    with pytest.raises(CannotLearn, match="nothing to prefer"):
        train("dpo", tickets(), plan(base, epochs=1), tmp_path / "none")


def test_of_two_recipes_the_one_with_more_to_learn_from_goes_first(torch, base, tmp_path) -> None:
    def chosen(examples: list[Example], name: str) -> str:
        means = Means(plan(base, epochs=1), tmp_path / name)
        return train_first(["sft", "dpo"], examples, seed=1, tick=lambda *_: None, means=means)[0]

    examples = tickets(44)
    assert chosen(examples, "plain") == "sft"
    assert chosen([msgspec.structs.replace(one, rejected=("another",)) for one in examples], "pairs") == "dpo"


def test_what_is_missing_is_said(tmp_path) -> None:
    with pytest.raises(CannotLearn, match=r"learn\.generative\.base"):
        train_first(["sft"], tickets(), seed=1, tick=lambda *_: None)
    crossfitted = [msgspec.structs.replace(one, fold=0) for one in tickets()]
    with pytest.raises(CannotLearn):
        train_first(["sft"], crossfitted, seed=1, tick=lambda *_: None, means=Means(plan(tmp_path), tmp_path))


def test_the_rule_of_thumb(torch) -> None:
    from trainer.training.generative import rule_of_thumb

    assert rule_of_thumb(2000, "full") == pytest.approx(5e-5)
    assert rule_of_thumb(2000, "lora") == pytest.approx(5e-4)
    assert rule_of_thumb(64, "lora") <= 1e-2


def test_a_successor_begins_with_its_predecessors_adapter(taught, base, tmp_path) -> None:
    _, _, parent = taught

    def learn(name: str, **changes: object):
        how = plan(base, adapt="lora", learning_rate=1e-3, epochs=1, **changes)
        means = Means(how, tmp_path / name, parent=parent)
        trained = train_first(["sft"], tickets(120), seed=1, tick=lambda *_: None, means=means)[1]
        return trained, store(tmp_path / f"s-{name}", "sft", trained, "d" * 64, 1)

    onwards, artifact = learn("v2")
    assert artifact.manifest.parent == parent.digest
    assert onwards.numbers["first_loss"] == pytest.approx(taught[0].numbers["last_loss"], rel=0.5)
    assert onwards.numbers["first_loss"] < taught[0].numbers["first_loss"] - 1
    other, artifact = learn("v3", rank=4)  # another shape: it begins anew
    assert artifact.manifest.parent is None
    assert other.numbers["first_loss"] > onwards.numbers["first_loss"]
