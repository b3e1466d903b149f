"""A generative student's lesson, from examples to a finished student. Read downwards; the three recipes share it.

A tenth of the training calls is kept away from the weights: it stops training in time and calibrates the confidence.
The threshold itself is chosen on calls that none of this ever saw, as for every student.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.config import Generative as Plan
from optimizer.scorers import agrees
from trainer.artifacts.artifact import Artifact
from trainer.recipes.example import CannotLearn, Example, Tick, Trained
from trainer.recipes.generative import Means
from trainer.training import bases, memory, shared
from trainer.training.alphabet import Alphabet
from trainer.training.generative import Generation, Generative, fit_isotonic, raw_score, rule_of_thumb
from trainer.training.loop import Pace, Progress, fit
from trainer.training.models import CannotLoad, Speaker, adapted, carry_on, load, write
from trainer.training.objectives import Distiller, answers_objective
from trainer.training.preferences import PreferencePair, preferences_objective
from trainer.training.rows import TokenRow
from trainer.training.sparse import aligned
from trainer.training.speak import speak

LEAST_ROWS = 40
_HELD = 0.1
_LEAST_HELD, _MOST_HELD = 8, 512
_DPO_PACE = 0.1


@dataclass(slots=True)
class Lesson:
    """What the phases of one lesson share."""

    speaker: Speaker
    plan: Plan
    workspace: Path
    seed: int
    identity: str
    learning: list[Example]
    held: list[Example]
    rows: list[TokenRow]
    held_rows: list[TokenRow]
    left_out: int
    longest_answer: int
    parent: str | None = None


def begin(examples: Sequence[Example], plan: Plan, means: Means, seed: int, tick: Tick) -> Lesson:
    """The base, loaded and adapted, with a parent's weights where it fits, and the examples as tokens. Raises
    CannotLearn."""
    known = [example for example in examples if example.weight > 0]
    if len(known) < LEAST_ROWS:
        raise CannotLearn(f"only {len(known)} usable examples; a language model needs {LEAST_ROWS}")
    try:
        base = bases.find(plan.base, download=plan.download)
        need = memory.need_of(base, plan) * memory.copies(plan)
        memory.wait_for(need, memory.room, lambda text: tick(0.02, text), time.sleep)
        speaker = adapted(
            load(base, plan.precision, quantised=plan.adapt == "qlora"), plan.adapt, plan.rank, seed
        )
    except (bases.BaseRefused, CannotLoad, memory.NeverFits) as problem:
        raise CannotLearn(str(problem)) from None
    parent = _carried_on(speaker, plan, means.parent)
    rows = {number: _row(speaker, example) for number, example in enumerate(known)}
    fits = [number for number, row in rows.items() if len(row) <= plan.max_length]
    if len(fits) < LEAST_ROWS:
        raise CannotLearn(
            f"only {len(fits)} of {len(known)} examples fit into max_length: {plan.max_length} tokens"
        )
    held = _held_back([known[number] for number in fits], seed)
    learning = [number for number in fits if known[number].text not in held]
    aside = [number for number in fits if known[number].text in held]
    return Lesson(
        speaker=speaker, plan=plan, workspace=means.workspace, seed=seed,
        identity=_identity(known, plan, f"{base.digest}{parent or ''}", seed),
        learning=[known[number] for number in learning], held=[known[number] for number in aside],
        rows=[rows[number] for number in learning], held_rows=[rows[number] for number in aside],
        left_out=len(known) - len(fits), longest_answer=max(len(rows[number].answer) for number in fits) + 4,
        parent=parent,
    )  # fmt: skip


def _carried_on(speaker: Speaker, plan: Plan, parent: Artifact | None) -> str | None:
    """Puts the parent's weights in, when it was adapted in the same way from the same base; → its digest."""
    found = parent.parameters if parent is not None else None
    if parent is None or not isinstance(found, Generative):
        return None
    same = (speaker.base.digest, plan.adapt, plan.rank)
    if (found.plan.base_digest, found.plan.adapt, found.plan.rank) != same:
        return None
    carry_on(speaker, found.folder, plan.adapt)
    return parent.digest


def _row(speaker: Speaker, example: Example) -> TokenRow:
    return TokenRow(
        tuple(speaker.prompt(example.text)), tuple(speaker.answer(example.answer)), example.weight
    )


def _held_back(examples: Sequence[Example], seed: int) -> frozenset[str]:
    """The texts that stay away from the weights, chosen by their hash; equal texts stay together."""
    texts = sorted(
        {one.text for one in examples}, key=lambda text: hashlib.sha256(f"{seed}/{text}".encode()).digest()
    )
    return frozenset(texts[: min(_MOST_HELD, max(_LEAST_HELD, round(_HELD * len(texts))))])


def _identity(examples: Sequence[Example], plan: Plan, base: str, seed: int) -> str:
    """What a checkpoint must have been made from to be gone on with."""
    whole = hashlib.sha256(msgspec.json.encode((base, seed, plan)))
    for example in examples:
        whole.update(msgspec.json.encode(example))
    return whole.hexdigest()


# ---------------------------------------------------------------- phases
def imitate(lesson: Lesson, tick: Callable[[float, str], None]) -> Progress:
    """Completion-only cross-entropy on the teacher's answers (sequence-level distillation, Kim & Rush, 2016)."""
    objective = answers_objective(
        lesson.speaker, lesson.rows, lesson.held_rows, seed=lesson.seed, longest=lesson.plan.max_length,
        batch_tokens=lesson.plan.batch_tokens, checkpoint=lesson.plan.checkpoint_gradients,
    )  # fmt: skip
    return fit(lesson.speaker, objective, _pace(lesson, "sft"), lesson.workspace / "sft", tick)


def distil(lesson: Lesson, tick: Callable[[float, str], None]) -> tuple[Progress, float]:
    """Token-level distillation. → progress, and the share of answer tokens at which the teacher was heard. Raises
    CannotLearn when there is nothing to distil from."""
    settings, speaker = lesson.plan.distillation, lesson.speaker
    rows, heard, teacher = lesson.rows, 1.0, None
    if settings.teacher:
        teacher = _local_teacher(lesson)
    else:
        if settings.on_policy:
            raise CannotLearn(
                "on_policy needs a local teacher (learn.generative.distillation.teacher) to score with"
            )
        rows = _targeted(lesson)
        heard = sum(t is not None for row in rows for t in row.targets) / max(
            1, sum(len(r.answer) for r in rows)
        )
        if heard == 0:
            raise CannotLearn("the teacher's tokens fit the student's nowhere: choose a base of the teacher's family")
    prompts = {row.prompt: one.text for row, one in zip(lesson.rows, lesson.learning, strict=True)}
    loss = Distiller(
        settings, speaker, teacher, prompts=prompts, longest_answer=lesson.longest_answer, seed=lesson.seed
    )
    objective = answers_objective(
        speaker, rows, lesson.held_rows, seed=lesson.seed, longest=lesson.plan.max_length,
        batch_tokens=lesson.plan.batch_tokens, checkpoint=lesson.plan.checkpoint_gradients, line_loss=loss,
    )  # fmt: skip
    return fit(speaker, objective, _pace(lesson, "distill"), lesson.workspace / "distill", tick), heard


def _local_teacher(lesson: Lesson) -> Speaker:
    try:
        teacher = load(bases.find(lesson.plan.distillation.teacher), lesson.plan.precision)
    except (bases.BaseRefused, CannotLoad) as problem:
        raise CannotLearn(f"the local teacher: {problem}") from None
    if teacher.tokenizer.get_vocab() != lesson.speaker.tokenizer.get_vocab():
        raise CannotLearn(
            "the local teacher has another tokenizer than the student: their tokens cannot be compared"
        )
    teacher.lm.eval().requires_grad_(False)
    return teacher


def _targeted(lesson: Lesson) -> list[TokenRow]:
    alphabet, end = Alphabet(lesson.speaker.tokenizer), lesson.speaker.tokenizer.eos_token_id
    return [
        TokenRow(
            row.prompt, row.answer, row.weight,
            aligned(row.answer, one.teacher, alphabet.bytes_of, alphabet.token_of, end) if one.teacher else (),
        )
        for row, one in zip(lesson.rows, lesson.learning, strict=True)
    ]  # fmt: skip


def prefer(lesson: Lesson, tick: Callable[[float, str], None]) -> tuple[Progress, int]:
    """Preferences, after the student can imitate. → progress, and how many pairs there were."""
    pairs, held = _pairs(lesson, lesson.learning, lesson.rows), _pairs(lesson, lesson.held, lesson.held_rows)
    if not pairs:
        raise CannotLearn("no two different answers to one input fit into max_length")
    objective = preferences_objective(
        lesson.speaker, pairs, held, lesson.plan.preferences, seed=lesson.seed,
        batch_tokens=lesson.plan.batch_tokens, checkpoint=lesson.plan.checkpoint_gradients,
    )  # fmt: skip
    pace = msgspec.structs.replace(
        _pace(lesson, "dpo"), learning_rate=_pace(lesson, "dpo").learning_rate * _DPO_PACE
    )
    return fit(lesson.speaker, objective, pace, lesson.workspace / "dpo", tick), len(pairs)


def _pairs(lesson: Lesson, examples: Sequence[Example], rows: Sequence[TokenRow]) -> list[PreferencePair]:
    found = []
    for example, row in zip(examples, rows, strict=True):
        for text in example.rejected:
            rejected = TokenRow(row.prompt, tuple(lesson.speaker.answer(text)))
            if text != example.answer and len(row) + len(rejected) <= 2 * lesson.plan.max_length:
                found.append((row, rejected))
    return found


def _pace(lesson: Lesson, phase: str) -> Pace:
    plan = lesson.plan
    return Pace(
        seed=lesson.seed,
        epochs=plan.epochs,
        learning_rate=plan.learning_rate or rule_of_thumb(lesson.speaker.base.width, plan.adapt),
        patience=plan.patience,
        identity=f"{phase}/{lesson.identity}",
    )


# ---------------------------------------------------------------- the end
def finish(lesson: Lesson, numbers: dict[str, float], tick: Tick) -> Trained:
    """Calibrates the confidence on the calls kept away, writes the student's files, and hands it over."""
    shared.leave()
    tick(0.9, f"calibrating on {len(lesson.held)} calls")
    said = speak(lesson.speaker, [one.text for one in lesson.held], lesson.longest_answer)
    hits = [agrees("exact", one.text, example.answer) for one, example in zip(said, lesson.held, strict=True)]
    calibration = fit_isotonic([raw_score(one.logprobs) for one in said if one.ended],
                               [hit for hit, one in zip(hits, said, strict=True) if one.ended])  # fmt: skip
    folder = lesson.workspace / "student"
    shutil.rmtree(folder, ignore_errors=True)
    write(lesson.speaker, folder, lesson.plan.adapt)
    base = lesson.speaker.base
    plan = Generation(
        base=base.path, base_digest=base.digest, adapt=lesson.plan.adapt, rank=lesson.plan.rank,
        max_new_tokens=lesson.longest_answer, frame=lesson.speaker.frame, calibration=calibration,
    )  # fmt: skip
    learnt = sum(one.numel() for _, one in lesson.speaker.trainable())
    return Trained(
        answers=(),
        max_answer_tokens=max(example.tokens for example in (*lesson.learning, *lesson.held)),
        parameters=Generative(folder, plan),
        numbers={
            "rows": float(len(lesson.learning)),
            "held_rows": float(len(lesson.held)),
            "too_long": float(lesson.left_out),
            "parameters": float(base.parameters),
            "learnt_parameters": float(learnt),
            "held_agreement": round(sum(hits) / len(hits), 6) if hits else 0.0,
            **numbers,
        },
        parent=lesson.parent,
    )


def numbers_of(progress: Progress, prefix: str = "") -> dict[str, float]:
    """What a manifest keeps of a phase."""
    losses = progress.losses
    return {
        f"{prefix}steps": float(progress.step),
        f"{prefix}first_loss": round(losses[0], 6) if losses else 0.0,
        f"{prefix}last_loss": round(losses[-1], 6) if losses else 0.0,
        f"{prefix}epochs": float(len(progress.checks)),
        f"{prefix}tokens": progress.tokens,
        **({"selection_loss": round(progress.best, 6)} if math.isfinite(progress.best) else {}),
    }
