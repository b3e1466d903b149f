"""Checkpoints: one safetensors file with the numbers in its metadata; no pickle. Written whole or not at all."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

_NAME = "checkpoint.safetensors"
Tensor = Any


class _State(Struct, frozen=True):
    identity: str
    step: int
    losses: list[float]
    checks: list[float | None]
    best: float | None
    worse: int
    tokens: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where training stands, and the tensors it stands at."""

    identity: str
    step: int
    losses: list[float]
    checks: list[float]
    best: float
    worse: int
    tokens: float
    tensors: dict[str, Tensor]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replaces the folder's checkpoint. Raises OSError."""
    from safetensors.torch import save_file

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = _State(
        checkpoint.identity, checkpoint.step, checkpoint.losses,
        [None if math.isnan(one) else one for one in checkpoint.checks],
        None if math.isinf(checkpoint.best) else checkpoint.best, checkpoint.worse, checkpoint.tokens,
    )  # fmt: skip
    draft = folder / f".{_NAME}.{os.getpid()}.draft"
    save_file(checkpoint.tensors, draft, metadata={"state": msgspec.json.encode(state).decode()})
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(folder / _NAME)


def load_checkpoint(folder: Path, identity: str) -> Checkpoint | None:
    """The folder's checkpoint when it was made for ``identity``; None otherwise, also when it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / _NAME, framework="pt") as file:
            state = msgspec.json.decode((file.metadata() or {}).get("state", ""), type=_State)
            if state.identity != identity:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, msgspec.MsgspecError):
        return None
    checks = [math.nan if one is None else one for one in state.checks]
    best = math.inf if state.best is None else state.best
    return Checkpoint(
        state.identity, state.step, state.losses, checks, best, state.worse, state.tokens, tensors
    )
