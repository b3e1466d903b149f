"""What ``sft`` and ``distill`` minimise, as objectives of the training loop."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch

from gateway.config import Distillation
from trainer.training.loop import Objective
from trainer.training.losses import answer_loss, divergence, over_answers, sparse_loss
from trainer.training.models import Speaker, quiet
from trainer.training.rows import Pack, TokenRow, lines, packed, steps_of
from trainer.training.speak import speak

Tensor = Any
Line = Sequence[TokenRow]
PerToken = Callable[[Tensor, slice], Tensor]


class Reader:
    """Reads lines through a model: the hidden states of every token, and the head that makes logits of them."""

    def __init__(self, speaker: Speaker, *, checkpoint: bool = False) -> None:
        self._speaker = speaker
        lm = speaker.lm
        self._body, self._head = lm.base_model, lm.get_output_embeddings()
        if checkpoint:
            with quiet():
                lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self._plain = self._body is not lm and self._head is not None and self._agree()

    def _agree(self) -> bool:
        """Whether body and head alone make the model's logits; some models scale or cap them on the way."""
        tokens = torch.arange(4, device=self._speaker.device)[None] % self._speaker.base.vocabulary
        with torch.no_grad():
            whole = self._speaker.lm(input_ids=tokens, use_cache=False).logits
            parts = self._head(self._body(input_ids=tokens, use_cache=False).last_hidden_state)
        return bool(torch.allclose(whole.float(), parts.float(), atol=1e-4, rtol=1e-4))

    def hidden(self, pack: Pack) -> Tensor:
        """(length, width), or (length, vocabulary) for a model whose logits cannot be made apart."""
        device = self._speaker.device
        asked = {
            "input_ids": torch.tensor([pack.tokens], device=device),
            "position_ids": torch.tensor([pack.positions], device=device),
            "use_cache": False,
        }
        if self._plain:
            return self._body(**asked).last_hidden_state[0]
        return self._speaker.lm(**asked).logits[0]

    def head(self, hidden: Tensor) -> Tensor:
        return self._head(hidden) if self._plain else hidden

    def total(self, pack: Pack, per_token: PerToken) -> Tensor:
        """Sum of a per-token loss over the answers of a line."""
        return over_answers(self.hidden(pack), self.head, pack, per_token)


def answers_objective(
    speaker: Speaker, rows: Sequence[TokenRow], held: Sequence[TokenRow], *, seed: int, longest: int, batch_tokens: int,
    checkpoint: bool, line_loss: Callable[[Reader, Line, int], tuple[Tensor, float]] | None = None,
) -> Objective[Line]:  # fmt: skip
    """Cross-entropy of the answers of ``rows`` (or ``line_loss``), validated on ``held``."""
    reader = Reader(speaker, checkpoint=checkpoint)
    loss = line_loss or plain_loss

    def steps(epoch: int) -> Sequence[Sequence[Line]]:
        return steps_of(rows, epoch=epoch, seed=seed, longest=longest, batch_tokens=batch_tokens)

    def check() -> float | None:
        found = [plain_loss(reader, line, 0) for line in lines(held, longest)]
        weight = sum(one for _, one in found)
        return sum(float(one) for one, _ in found) / weight if weight else None

    return Objective(steps, lambda line, step: loss(reader, line, step), check)


def plain_loss(reader: Reader, line: Line, _step: int) -> tuple[Tensor, float]:
    """Completion-only cross-entropy, its sum and its weight."""
    pack = packed(line)

    def per_token(logits: Tensor, these: slice) -> Tensor:
        return answer_loss(logits, torch.tensor(pack.labels[these], device=logits.device))

    return reader.total(pack, per_token), pack.weight


class Distiller:
    """The distillation loss of a line: from captured alternatives, or from a local teacher; on-policy when asked."""

    def __init__(
        self, settings: Distillation, student: Speaker, teacher: Speaker | None, *, prompts: dict[tuple[int, ...], str],
        longest_answer: int, seed: int,
    ) -> None:  # fmt: skip
        self._settings, self._student = settings, student
        self._teacher = Reader(teacher) if teacher is not None else None
        self._prompts, self._longest, self._seed = prompts, longest_answer, seed

    def __call__(self, reader: Reader, line: Line, step: int) -> tuple[Tensor, float]:
        if (
            self._teacher is not None
            and random.Random(f"{self._seed}/policy/{step}").random() < self._settings.on_policy
        ):
            line = self._own(line)
        pack = packed(line)
        if not pack.labels:
            return torch.zeros((), requires_grad=True), 0.0
        return reader.total(
            pack, self._sparse(pack) if self._teacher is None else self._dense(pack)
        ), pack.weight

    def _sparse(self, pack: Pack) -> PerToken:
        settings = self._settings

        def per_token(logits: Tensor, these: slice) -> Tensor:
            labels = torch.tensor(pack.labels[these], device=logits.device)
            found = sparse_loss(logits, labels, pack.targets[these], settings.divergence, settings.beta)
            return self._mixed(found, logits, labels)

        return per_token

    def _dense(self, pack: Pack) -> PerToken:
        teacher, settings = self._teacher, self._settings
        assert teacher is not None
        with torch.no_grad():
            seen = teacher.hidden(pack)
            wanted = seen[torch.tensor(pack.at, device=seen.device)]

        def per_token(logits: Tensor, these: slice) -> Tensor:
            with torch.no_grad():
                said = torch.log_softmax(teacher.head(wanted[these]).float(), -1)
            student = torch.log_softmax(logits.float(), -1)
            found = divergence(said, student, settings.divergence, settings.beta)
            return self._mixed(found, logits, torch.tensor(pack.labels[these], device=logits.device))

        return per_token

    def _mixed(self, found: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        share = self._settings.answer_weight
        return found if share == 0 else (1 - share) * found + share * answer_loss(logits, labels)

    def _own(self, line: Line) -> list[TokenRow]:
        """The line's prompts with answers the student draws now; the teacher scores them token by token."""
        texts = [self._prompts[row.prompt] for row in line]
        end = self._student.tokenizer.eos_token_id
        said = speak(self._student, texts, self._longest, sample=True)
        return [
            TokenRow(row.prompt, (*one.tokens, *([end] if one.ended else [])), row.weight)
            for row, one in zip(line, said, strict=True)
        ]
