"""How much memory a process that trains may use: enough for a lesson, never so much that calls suffer."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

from gateway.config import Trainer
from gateway.processes.memory_share import memory_bound

_SHARE = 0.75
_MEMINFO = Path("/proc/meminfo")
_REFUSED = ("can't allocate memory", "cannot allocate memory", "not enough memory", "std::bad_alloc")
"""What torch and other native code say; they know no MemoryError."""


def most(rules: Trainer) -> int | None:
    """Bytes. None where neither the policies nor the machine say anything."""
    if rules.max_memory_bytes is not None:
        return rules.max_memory_bytes
    there = _there()
    return round(_SHARE * there) if there else None


def hold(size: int | None) -> None:
    """Holds this process and those it starts, each, to ``size`` bytes of memory of their own.

    Data, not address space (setrlimit(2), RLIMIT_DATA): accelerators and memory maps reserve much that they never use.
    """
    if size is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (size if hard < 0 else min(size, hard), hard))


def too_little(problem: BaseException) -> bool:
    """Whether memory was refused: to Python, to the kernel's caller, or to native code that says so."""
    if isinstance(problem, MemoryError) or (isinstance(problem, OSError) and problem.errno == errno.ENOMEM):
        return True
    return isinstance(problem, RuntimeError) and any(word in str(problem).lower() for word in _REFUSED)


def refusal(size: int | None) -> str:
    """For a person: what happened, and what can be done."""
    held = f"the {size / 2**30:.1f} GiB" if size is not None else "what there is of it"
    return (
        f"the training needed more memory than {held} that it may use; allow more with trainer.max_memory_bytes, or "
        "teach less at a time (learn.max_calls, a smaller base, fewer batch_tokens)"
    )


def _there() -> int:
    """Bytes that this machine has, or its container; 0 where nobody says."""
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")]
    if (bound := memory_bound()) is not None:
        found.append(bound)
    return min(found, default=0)
