"""Losses over the answer's tokens, in natural logarithms. Shapes: (tokens, vocabulary) in, (tokens,) out.

Divergences between a teacher p and a student q: forward KL(p‖q) covers all the teacher does, reverse KL(q‖p) keeps to
what it does surely, and the generalised Jensen–Shannon divergence (Agarwal et al., "On-Policy Distillation of Language
Models", 2024) stands in between: β·KL(p‖m) + (1−β)·KL(q‖m) with m = β·p + (1−β)·q.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.utils.checkpoint import checkpoint

from trainer.training.rows import Pack
from trainer.training.sparse import SparseTarget

Tensor = Any
Divergence = Literal["forward_kl", "reverse_kl", "js"]
CHUNK = 1024


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """−log q of the written tokens."""
    return F.cross_entropy(logits.float(), labels, reduction="none")


def divergence(teacher: Tensor, student: Tensor, kind: Divergence, beta: float) -> Tensor:
    """Exact, from two tables of log-probabilities. The gradient flows through ``student``."""
    if kind == "forward_kl":
        return (teacher.exp() * (teacher - student)).sum(-1)
    if kind == "reverse_kl":
        return (student.exp() * (student - teacher)).sum(-1)
    mixed = torch.logaddexp(teacher + math.log(beta), student + math.log1p(-beta))
    to_teacher = (teacher.exp() * (teacher - mixed)).sum(-1)
    to_student = (student.exp() * (student - mixed)).sum(-1)
    return beta * to_teacher + (1 - beta) * to_student


def sparse_loss(
    logits: Tensor, labels: Tensor, targets: Sequence[SparseTarget | None], kind: Divergence, beta: float
) -> Tensor:
    """The divergence from a teacher of whom only the likeliest tokens are known; −log q where nothing is known.

    ``forward_kl``: the unbiased cross-entropy of ``trainer.training.sparse`` (the KL but for the teacher's entropy,
    which does not move the student). The others compare the named tokens and everything else as one
    more outcome: exact for this coarser view, and never more than the full divergence (data processing inequality).
    """
    log = torch.log_softmax(logits.float(), -1)
    plain = F.nll_loss(log, labels, reduction="none")
    known = [row for row, target in enumerate(targets) if target is not None]
    if not known:
        return plain
    losses = list(plain.unbind())
    for row in known:
        target = targets[row]
        assert target is not None
        if kind == "forward_kl":
            tokens, weights = zip(*target.weights(int(labels[row])), strict=True)
            losses[row] = -(log.new_tensor(weights) * log[row, list(tokens)]).sum()
        else:
            losses[row] = _coarse(log[row, list(target.tokens)], target, kind, beta)
    return torch.stack(losses)


def _coarse(log: Tensor, target: SparseTarget, kind: Divergence, beta: float) -> Tensor:
    """The divergence over the named tokens and "any other"."""
    other = torch.log1p(-log.exp().sum().clamp(max=1 - 1e-6))
    student = torch.cat([log, other[None]])
    teacher = log.new_tensor([*target.probabilities, max(target.tail, 1e-6)]).clamp(min=1e-9).log()
    return divergence(teacher - teacher.logsumexp(-1), student, kind, beta)


def over_answers(
    hidden: Tensor, head: Callable[[Tensor], Tensor], pack: Pack, per_token: Callable[[Tensor, slice], Tensor]
) -> Tensor:
    """Sum over the answer's tokens of ``per_token(logits, tokens) · weight``, a chunk of tokens at a time, each chunk's
    logits computed again for the gradient: the table of all logits, which for a large vocabulary is most of
    training's memory, never exists. ``hidden``: (length, width) of one line."""
    weights = torch.tensor(pack.weights, device=hidden.device)
    wanted = hidden[torch.tensor(pack.at, device=hidden.device)]
    total = hidden.new_zeros((), dtype=torch.float32)

    def part(piece: Tensor, these: slice) -> Tensor:
        return (per_token(head(piece), these) * weights[these]).sum()

    for start in range(0, len(pack.at), CHUNK):
        these = slice(start, min(start + CHUNK, len(pack.at)))
        total = total + checkpoint(part, wanted[these], these, use_reentrant=False)
    return total


def preference_loss(
    chosen: Tensor,
    rejected: Tensor,
    chosen_before: Tensor,
    rejected_before: Tensor,
    *,
    beta: float,
    kind: str,
) -> Tensor:
    """From the log-probabilities of whole answers now and before training, (pairs,) each.

    ``dpo`` (Rafailov et al., 2023): −log σ(β·h), ``ipo`` (Azar et al., 2023): (h − 1/(2β))², with
    h = (chosen − chosen_before) − (rejected − rejected_before). Azar et al. use the mean log-probability of a token in
    their experiments; the caller decides what it passes.
    """
    margin = (chosen - chosen_before) - (rejected - rejected_before)
    if kind == "ipo":
        return (margin - 1 / (2 * beta)) ** 2
    return -F.logsigmoid(beta * margin)
