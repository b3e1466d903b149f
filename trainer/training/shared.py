"""What the training loop needs to know of the other processes that train the same model; alone, it is the only one.

Every process holds the whole model and reads its share of each step's lines; the sums of gradients, losses and weights
are exchanged before the optimiser steps (data-parallel training), so all of them stay equal.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def join() -> None:
    """Joins the group that torchrun's environment names. Raises RuntimeError."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def mine(lines: Sequence[T]) -> Sequence[T]:
    """This process's share of a step's lines."""
    if not distributed.is_initialized():
        return lines
    return lines[distributed.get_rank() :: distributed.get_world_size()]


def summed(parameters: Sequence[Any], loss: float, weight: float) -> tuple[float, float]:
    """Adds up the parameters' gradients, the loss and the weight over all processes."""
    if not distributed.is_initialized():
        return loss, weight
    for one in parameters:
        if one.grad is None:
            one.grad = torch.zeros_like(one)
        distributed.all_reduce(one.grad)
    device = parameters[0].device
    totals = torch.tensor([loss, weight], dtype=torch.float64, device=device)
    distributed.all_reduce(totals)
    return float(totals[0]), float(totals[1])


def wait() -> None:
    """Until all processes are here."""
    if distributed.is_initialized():
        distributed.barrier()


def leave() -> None:
    """The first goes on alone; the others have done their part and end."""
    if not distributed.is_initialized():
        return
    first = distributed.get_rank() == 0
    distributed.destroy_process_group()
    if not first:
        raise SystemExit(0)
