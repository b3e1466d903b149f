"""Losses against closed forms worked out by hand, and gradients against finite differences."""

from __future__ import annotations

import math

import pytest


@pytest.fixture
def losses(torch):
    from trainer.training import losses

    return losses


def logs(torch, *rows):
    return torch.tensor(rows, dtype=torch.float64).log()


def test_divergences_by_hand(torch, losses) -> None:
    teacher, student = logs(torch, [0.5, 0.5]), logs(torch, [0.25, 0.75])
    forward = 0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75)
    reverse = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    mixed = [0.375, 0.625]
    js = 0.5 * sum(0.5 * math.log(0.5 / m) for m in mixed) + 0.5 * (
        0.25 * math.log(0.25 / mixed[0]) + 0.75 * math.log(0.75 / mixed[1])
    )
    assert float(losses.divergence(teacher, student, "forward_kl", 0.5)) == pytest.approx(forward)
    assert float(losses.divergence(teacher, student, "reverse_kl", 0.5)) == pytest.approx(reverse)
    assert float(losses.divergence(teacher, student, "js", 0.5)) == pytest.approx(js)
    for kind in ("forward_kl", "reverse_kl", "js"):
        assert float(losses.divergence(teacher, teacher, kind, 0.3)) == pytest.approx(0, abs=1e-12)


def test_js_goes_over_into_both_kinds_of_kl(torch, losses) -> None:
    teacher, student = logs(torch, [0.7, 0.2, 0.1]), logs(torch, [0.2, 0.5, 0.3])
    small = float(losses.divergence(teacher, student, "js", 1e-4)) / 1e-4
    large = float(losses.divergence(teacher, student, "js", 1 - 1e-4)) / 1e-4
    assert small == pytest.approx(float(losses.divergence(teacher, student, "forward_kl", 0)), rel=1e-2)
    assert large == pytest.approx(float(losses.divergence(teacher, student, "reverse_kl", 0)), rel=1e-2)


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "js"])
def test_gradients(torch, losses, kind) -> None:
    torch.manual_seed(0)
    teacher = torch.log_softmax(torch.randn(3, 5, dtype=torch.float64), -1)
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: losses.divergence(teacher, torch.log_softmax(x, -1), kind, 0.4), (logits,)
    )


def test_a_sparse_target_that_names_everything_is_the_dense_loss(torch, losses) -> None:
    from trainer.training.sparse import SparseTarget

    torch.manual_seed(1)
    p = torch.softmax(torch.randn(6), -1)
    logits = torch.randn(1, 6)
    target = SparseTarget(tuple(range(6)), tuple(p.tolist()))
    found = float(losses.sparse_loss(logits, torch.tensor([2]), [target], "forward_kl", 0.5))
    assert found == pytest.approx(float(-(p * torch.log_softmax(logits[0], -1)).sum()), abs=1e-5)
    for kind in ("reverse_kl", "js"):
        dense = float(losses.divergence(p.log()[None], torch.log_softmax(logits, -1), kind, 0.5))
        assert float(losses.sparse_loss(logits, torch.tensor([2]), [target], kind, 0.5)) == pytest.approx(
            dense, abs=1e-3
        )


@pytest.mark.parametrize("kind", ["reverse_kl", "js"])
def test_a_coarser_view_never_shows_more_divergence(torch, losses, kind) -> None:
    from trainer.training.sparse import SparseTarget

    torch.manual_seed(2)
    for _ in range(30):
        p, logits = torch.softmax(2 * torch.randn(8), -1), torch.randn(1, 8)
        best = p.topk(3)
        target = SparseTarget(tuple(best.indices.tolist()), tuple(best.values.tolist()))
        coarse = float(losses.sparse_loss(logits, torch.tensor([0]), [target], kind, 0.5))
        full = float(losses.divergence(p.log()[None], torch.log_softmax(logits, -1), kind, 0.5))
        assert -1e-5 <= coarse <= full + 1e-4


def test_where_the_teacher_is_unknown_the_written_token_is_learnt(torch, losses) -> None:
    logits = torch.randn(2, 4)
    found = losses.sparse_loss(logits, torch.tensor([1, 3]), [None, None], "forward_kl", 0.5)
    assert torch.allclose(found, losses.answer_loss(logits, torch.tensor([1, 3])))


def test_preferences_by_hand(torch, losses) -> None:
    now, before = torch.tensor([-1.0]), torch.tensor([-3.0])
    other, other_before = torch.tensor([-4.0]), torch.tensor([-4.5])
    margin = 2.0 - 0.5
    dpo = losses.preference_loss(now, other, before, other_before, beta=0.1, kind="dpo")
    ipo = losses.preference_loss(now, other, before, other_before, beta=0.1, kind="ipo")
    assert float(dpo) == pytest.approx(math.log(1 + math.exp(-0.1 * margin)), abs=1e-6)
    assert float(ipo) == pytest.approx((margin - 5.0) ** 2, abs=1e-5)
    still = losses.preference_loss(before, other, before, other, beta=0.7, kind="dpo")
    assert float(still) == pytest.approx(math.log(2), abs=1e-6)


def test_chunks_give_the_whole_loss_and_its_gradient(torch, losses, monkeypatch) -> None:
    from trainer.training.rows import TokenRow, packed

    torch.manual_seed(3)
    pack = packed([TokenRow((1, 2), (3, 4, 5), 1.0), TokenRow((6,), (7, 8), 0.5)])
    weight, hidden = torch.randn(9, 4), torch.randn(len(pack.tokens), 4)

    def run(chunk: int):
        monkeypatch.setattr(losses, "CHUNK", chunk)
        inputs = hidden.clone().requires_grad_()
        total = losses.over_answers(
            inputs, lambda part: part @ weight.T, pack,
            lambda logits, these: losses.answer_loss(logits, torch.tensor(pack.labels[these])),
        )  # fmt: skip
        total.backward()
        return total.detach(), inputs.grad

    whole, grads = run(100)
    pieces, piecewise = run(2)
    plain = torch.nn.functional.cross_entropy(
        hidden[pack.at] @ weight.T, torch.tensor(pack.labels), reduction="none"
    )
    assert torch.allclose(whole, (plain * torch.tensor(pack.weights)).sum(), atol=1e-5)
    assert torch.allclose(whole, pieces, atol=1e-5)
    assert torch.allclose(grads, piecewise, atol=1e-6)
