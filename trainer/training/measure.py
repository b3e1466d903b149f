"""Measures one training: how fast it is, how much it needs, and how well the student does afterwards.

    python -m trainer.training.measure --make 128x2 --objective reverse_kl --json figures.json

The task is made up (tickets to queues, with a queue that depends on two words of the ticket), the base is blank unless
``--base`` names one, and the teacher of the divergences is the same base trained whole on the task first. So every
student starts equal, and differences between objectives are differences of the objectives.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from pathlib import Path

import msgspec
import torch

from gateway.config import Distillation, Generative
from optimizer.scorers import agrees
from optimizer.stats.intervals import clopper_pearson
from trainer.recipes.example import Example
from trainer.recipes.generative import Means
from trainer.training import blank, lesson
from trainer.training.models import write
from trainer.training.speak import speak

_THINGS = ("printer", "wifi", "invoice", "password", "laptop", "vpn", "refund", "badge")
_HOW = ("broken", "slow", "lost", "wrong")
_DIVERGENCES = ("forward_kl", "reverse_kl", "js")


def tickets(count: int, seed: int) -> list[Example]:
    """The answer depends on the thing and, for half of the things, also on what is wrong with it."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        thing, how = rng.randrange(len(_THINGS)), rng.randrange(len(_HOW))
        answer = f"queue {thing % 4}" + (f" level {how}" if thing >= 4 else "")
        desk = "".join(rng.choices("abcdefghijklmnop", k=5))
        found.append(Example(f"desk {desk}: my {_THINGS[thing]} is {_HOW[how]}", answer, tokens=4))
    return found


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Trains once. → figures: seconds, tokens (all, and those of answers, which are learnt), tokens per second, model
    FLOPs utilisation where the peak is known, peak memory in bytes, agreement on fresh tickets with its interval."""
    if options.threads:
        torch.set_num_threads(options.threads)
    base = Path(options.base) if options.base else _made(options.make, folder / "base")
    plan = Generative(
        base=str(base), adapt=options.adapt, rank=options.rank, epochs=options.epochs, patience=options.epochs,
        learning_rate=options.learning_rate, batch_tokens=options.batch_tokens, max_length=options.max_length,
        precision=options.precision,
    )  # fmt: skip
    examples = tickets(options.rows, options.seed)
    if options.objective in _DIVERGENCES:
        teacher = _teacher(plan, examples, folder, options)
        settings = Distillation(
            teacher=str(teacher), divergence=options.objective, on_policy=options.on_policy
        )
        plan = msgspec.structs.replace(plan, distillation=settings)
    mine = lesson.begin(examples, plan, Means(workspace=folder / "student"), options.seed, lambda *_: None)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    if options.objective in _DIVERGENCES:
        progress, _ = lesson.distil(mine, lambda *_: None)
    else:
        progress = lesson.imitate(mine, lambda *_: None)
    seconds = time.perf_counter() - began
    seen = sum(map(len, mine.rows)) * len(progress.checks)
    learnt = sum(one.numel() for _, one in mine.speaker.trainable())
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{torch.get_num_threads()} CPU threads"
    )
    return {
        "objective": options.objective, "on_policy": options.on_policy, "adapt": options.adapt, "seed": options.seed,
        "device": device, "parameters": mine.speaker.base.parameters,
        "learnt_parameters": learnt, "steps": progress.step,
        "seconds": round(seconds, 2), "tokens": seen, "answer_tokens": round(progress.tokens),
        "tokens_per_second": round(seen / seconds, 1),
        "mfu": _utilisation(options, mine.speaker.base.parameters, seen / seconds),
        "peak_bytes": _peak(), **_exam(mine, options),
    }  # fmt: skip


def _made(shape: str, folder: Path) -> Path:
    """A blank base of ``WIDTHxLAYERS`` or ``WIDTHxLAYERSxVOCABULARY``."""
    width, layers, *more = map(int, shape.split("x"))
    return blank.make(folder, width=width, layers=layers, vocabulary=more[0] if more else 300, longest=2048)


def _teacher(plan: Generative, examples: list[Example], folder: Path, options: argparse.Namespace) -> Path:
    """The base trained whole on twice the time, as a folder."""
    whole = msgspec.structs.replace(
        plan,
        adapt="full",
        epochs=2 * plan.epochs,
        patience=2 * plan.epochs,
        learning_rate=options.teacher_rate,
    )
    teacher = lesson.begin(examples, whole, Means(workspace=folder / "teaching"), options.seed + 1, lambda *_: None)
    lesson.imitate(teacher, lambda *_: None)
    write(teacher.speaker, folder / "teacher", "full")
    return folder / "teacher"


def _utilisation(options: argparse.Namespace, parameters: int, tokens_per_second: float) -> float | None:
    """Model FLOPs utilisation: six operations for each parameter and token, four when the weights themselves do not
    learn (no gradient of theirs); what is computed twice for gradient checkpoints does not count."""
    if not options.peak_tflops:
        return None
    each: float = (6 if options.adapt == "full" else 4) * parameters
    peak: float = options.peak_tflops * 1e12
    return round(each * tokens_per_second / peak, 4)


def _peak() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _exam(mine: lesson.Lesson, options: argparse.Namespace) -> dict[str, object]:
    fresh = tickets(options.exam, options.seed + 10_000)
    said = speak(mine.speaker, [one.text for one in fresh], mine.longest_answer)
    right = sum(agrees("exact", one.text, example.answer) for one, example in zip(said, fresh, strict=True))
    low, high = clopper_pearson(right, len(fresh), 0.95)
    return {"n": len(fresh), "agreement": right / len(fresh), "agreement_low": low, "agreement_high": high}


def main() -> None:
    parser = argparse.ArgumentParser(prog="trainer.training.measure", description="Measures one training.")
    parser.add_argument("--base", default="", help="a model's folder (default: a blank one)")
    parser.add_argument("--make", default="128x2", help="a blank base: WIDTHxLAYERS[xVOCABULARY]")
    parser.add_argument("--objective", choices=("sft", *_DIVERGENCES), default="sft")
    parser.add_argument("--on-policy", type=float, default=0.0)
    parser.add_argument("--adapt", choices=("lora", "qlora", "full"), default="full")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--exam", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=None)
    parser.add_argument("--teacher-rate", type=float, default=3e-3)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    parser.add_argument("--peak-tflops", type=float, default=0.0, help="of the device, for the utilisation")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options.json.write_bytes(msgspec.json.encode(measure(options, Path(folder))))


if __name__ == "__main__":
    main()
