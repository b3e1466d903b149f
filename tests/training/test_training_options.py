"""What a plan may ask of a training: half precision, gradient checkpoints, four bits, adapters everywhere."""

from __future__ import annotations

import contextlib
import importlib.util

import pytest
from test_training import QUEUES, THINGS, plan, tickets, train

from trainer.artifacts.predictor import answer
from trainer.artifacts.registry import store


@pytest.fixture
def speaker(torch, base):
    from trainer.training import bases
    from trainer.training.models import load

    return lambda **how: load(bases.check(base), **how)


def gradients(speaker, checkpoint: bool):
    """(the loss of two packed rows, its gradients, how often the first layer was computed)."""
    from trainer.training.objectives import Reader, plain_loss
    from trainer.training.rows import TokenRow

    reader = Reader(speaker, checkpoint=checkpoint)
    speaker.lm.train()
    passes: list[int] = []
    handle = speaker.lm.base_model.layers[0].mlp.register_forward_pre_hook(lambda *_: passes.append(1))
    loss, _ = plain_loss(reader, [TokenRow((5, 6, 7), (8, 9)), TokenRow((20, 21), (22, 23))], 0)
    loss.backward()
    handle.remove()
    return float(loss.detach()), {name: one.grad for name, one in speaker.trainable()}, len(passes)


def test_gradient_checkpoints_compute_twice_and_change_nothing(torch, speaker) -> None:
    plain, checkpointed = gradients(speaker(), False), gradients(speaker(), True)
    assert (plain[2], checkpointed[2]) == (1, 2)
    assert plain[0] == pytest.approx(checkpointed[0], rel=1e-6)
    for name, one in plain[1].items():
        assert torch.allclose(one, checkpointed[1][name], atol=1e-6), name


def test_adapters_stand_at_every_linear_layer_but_the_output(torch, speaker) -> None:
    from trainer.training.models import adapted

    found = adapted(speaker(), "lora", 4, seed=1)
    names = {name for name, _ in found.trainable()}
    linear = [name for name, one in found.lm.named_modules() if type(one).__name__ == "Linear"]
    adapters = {name.split(".lora_")[0] for name in names}
    expected = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {name.rsplit(".", 1)[-1] for name in adapters} == expected
    assert len(adapters) == 7 * len(found.lm.base_model.layers)
    assert linear, "the output stays a plain layer"


def test_half_precision_learns_in_float32(torch, base, speaker, tmp_path) -> None:
    from trainer.training.models import adapted

    found = adapted(speaker(precision="bf16"), "lora", 4, seed=1)
    kinds = {one.requires_grad: one.dtype for one in found.model.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}
    with found.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    trained = train("sft", tickets(60), plan(base, precision="bf16", epochs=2), tmp_path)
    assert trained.numbers["last_loss"] < trained.numbers["first_loss"]


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="the extra 'qlora' is not installed")
def test_an_adapter_learns_on_a_base_in_four_bits(torch, base, tmp_path) -> None:
    """Trained on four bits, served merged into the base in full; the confidence is looked at as it serves."""
    trained = train("sft", tickets(), plan(base, adapt="qlora", learning_rate=1e-2, epochs=9), tmp_path / "work")
    assert trained.numbers["last_loss"] < trained.numbers["first_loss"]
    artifact = store(tmp_path / "triage-abcd-v1", "sft", trained, "d" * 64, 1)
    asked = [f"my {thing} is broken 999" for thing in THINGS]
    assert [one for ((one, _),) in answer(artifact.parameters, [], asked)] == list(QUEUES)


def test_gradients_on_four_bits_are_those_of_the_weights_they_stand_for(torch, speaker) -> None:
    """Also after the look at the validation loss that ends an epoch."""
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="the extra 'qlora' is not installed")
    from trainer.training.models import adapted

    four, plain = adapted(speaker(quantised=True), "qlora", 4, seed=1), adapted(speaker(), "lora", 4, seed=1)
    layers = dict(plain.lm.named_modules())
    with torch.no_grad():
        quantised = [(name, one) for name, one in four.lm.named_modules() if name.endswith("base_layer")]
        assert len(quantised) == 7 * len(four.lm.base_model.layers)
        for name, one in quantised:
            layers[name].weight.copy_(bitsandbytes.functional.dequantize_4bit(one.weight.data, one.weight.quant_state))
        for (_, one), (_, other) in zip(four.trainable(), plain.trainable(), strict=True):
            other.copy_(one.normal_(std=0.02))
    gradients(four, False)
    four.model.eval()
    with torch.no_grad():
        four.lm(input_ids=torch.tensor([[1, 2, 3]]))
    four.model.zero_grad()
    (loss, found, _), (wanted_loss, wanted, _) = gradients(four, False), gradients(plain, False)
    assert loss == pytest.approx(wanted_loss, rel=1e-6)
    for name, one in wanted.items():
        assert torch.allclose(one, found[name], rtol=1e-4, atol=1e-6), name


def test_four_bits_without_their_package_are_refused_with_what_to_install(torch, speaker, monkeypatch) -> None:
    from trainer.training.models import CannotLoad

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CannotLoad, match=r"understudy\[qlora\]"):
        speaker(quantised=True)


class Dial:
    """One weight that each step moves on by about the learning rate, so that it tells how far training went."""

    def __init__(self, torch) -> None:
        self.model = torch.nn.Module()
        self.model.dial = torch.nn.Parameter(torch.zeros(1))

    def autocast(self):
        return contextlib.nullcontext()

    def trainable(self):
        return list(self.model.named_parameters())


@pytest.mark.parametrize(
    ("losses", "epochs", "best"), [((3.0, 2.0, 1.0, 4.0, 5.0, 0.0), 5, 3), ((3.0, 4.0, 2.0, 1.0), 4, 4), ((), 4, 4)]
)
def test_training_stops_when_it_gets_no_better_and_goes_back_to_the_best(torch, tmp_path, losses, epochs, best) -> None:
    from trainer.training.loop import Objective, Pace, fit

    def train(epochs: int, checks: tuple[float, ...]):
        dial, coming = Dial(torch), iter(checks)
        objective = Objective(lambda _: [[1.0]], lambda line, _: (dial.model.dial.sum() * -line, 1.0), lambda: next(coming, None))
        pace = Pace(seed=0, epochs=epochs, learning_rate=0.1, patience=2, identity=f"{epochs}{checks}")
        seen: list[float] = []
        progress = fit(dial, objective, pace, tmp_path / str(epochs), lambda *_: seen.append(float(dial.model.dial.detach())))
        return progress, seen, float(dial.model.dial.detach())

    progress, seen, left = train(len(losses) or 4, losses)
    assert len(progress.checks) == epochs
    assert len(seen) == epochs
    assert left == seen[best - 1]


def test_on_policy_the_student_is_scored_on_what_it_writes_itself(torch, speaker) -> None:
    """What the teacher once wrote is not looked at; equal steps draw equal answers."""
    from gateway.config import Distillation
    from trainer.training.objectives import Distiller, Reader
    from trainer.training.rows import TokenRow

    student, teacher = speaker(), speaker()
    with torch.no_grad():
        for one in teacher.lm.parameters():
            one.add_(0.05 * torch.randn(one.shape, generator=torch.Generator().manual_seed(1)))
    prompt = tuple(student.prompt("my wifi is broken"))
    written = [TokenRow(prompt, tuple(student.answer(text))) for text in ("network", "billing")]

    def losses(on_policy: float) -> list[float]:
        settings = Distillation(teacher="here", divergence="reverse_kl", on_policy=on_policy)
        distiller = Distiller(settings, student, teacher, prompts={prompt: "my wifi is broken"}, longest_answer=6, seed=0)
        found = []
        for row in written:
            torch.manual_seed(3)
            loss, weight = distiller(Reader(student), [row], 0)
            found.append(float(loss.detach()) / weight)
        return found

    off, on = losses(0.0), losses(1.0)
    assert off[0] != pytest.approx(off[1], rel=1e-3)
    assert on[0] == pytest.approx(on[1], rel=1e-6)
    assert on[0] > 0
