"""Whether a language model's training fits beside everything else; decided before its first byte is loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from gateway.config import Generative
from trainer.training.bases import Base

_LEAST = 256 * 1024 * 1024
_FLOATS_PER_TOKEN = 40
"""Activations kept for each token and unit of width, roughly, with gradient checkpoints."""


class Room(Struct, frozen=True):
    """Bytes of the device a training would run on: the accelerator's memory where there is one."""

    free: int
    total: int


def need_of(base: Base, plan: Generative) -> int:
    """Bytes a training needs at least: weights, what learns with its gradient and two moments in float32, activations.

    ``full`` keeps four floats for each parameter; an adapter of rank r at every linear layer about r·(in + out), which
    is bounded by a tenth of the weights here; ``qlora`` stores the weights in a quarter of sixteen bits.
    """
    parameters = base.parameters
    if plan.adapt == "full":
        weights = 16 * parameters
    elif plan.adapt == "qlora":
        weights = parameters * 3 // 4 + 2 * parameters // 10
    else:
        weights = (4 if plan.precision == "fp32" else 2) * parameters + 16 * parameters // 10
    teacher = 4 * parameters if plan.distillation.teacher else 0
    line = min(plan.max_length, plan.batch_tokens)
    return _LEAST + weights + teacher + 4 * _FLOATS_PER_TOKEN * line * base.width


def copies(plan: Generative) -> int:
    """How many of a training's processes share one device: all of them on CPUs, one each on accelerators."""
    if importlib.util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return 1
    return plan.processes


def room() -> Room | None:
    """What there is now; None where nobody says."""
    if importlib.util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return Room(*torch.cuda.mem_get_info())
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    return Room(found["MemAvailable"], found["MemTotal"])


class NeverFits(Exception):
    """The device is too small, however long one waits; the text says by how much."""


def wait_for(
    need: int, look: Callable[[], Room | None], say: Callable[[str], None], sleep: Callable[[float], None]
) -> None:
    """Returns once ``need`` bytes are free. Raises NeverFits when the device does not have as many."""
    while (now := look()) is not None and now.free < need:
        if now.total < need:
            raise NeverFits(
                f"training needs about {_gib(need)} and the device has {_gib(now.total)}: a smaller base, "
                "adapt: lora, or fewer batch_tokens would fit"
            )
        say(f"waiting for memory: about {_gib(need)} needed, {_gib(now.free)} free")
        sleep(5.0)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
