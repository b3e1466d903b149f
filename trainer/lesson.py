"""What one run works with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.config import Learn, Task
from gateway.storage.home import Home
from gateway.storage.protocols import Reader, Writer
from gateway.storage.values import Run
from trainer.certify import Issuer


@dataclass(frozen=True, slots=True)
class Lesson:
    """``say(progress, step, message, data)`` tells the worker."""

    run: Run
    task: Task
    learn: Learn
    home: Home
    reader: Reader
    writer: Writer
    issuer: Issuer
    say: Callable[..., None]
    now: Callable[[], float] = time.time
    cluster: str | None = None
    """The address of the Ray cluster that curates and trains language models."""
