"""What a person on the admin page may do and see, as a protocol; ``gateway.bootstrap`` provides it."""

from __future__ import annotations

from typing import Literal, Protocol

from gateway.runtime import Runtime
from gateway.storage.protocols import Reader, Recorder


class Control(Protocol):
    """Every change takes effect in this process at once and is appended to the spool for the others."""

    @property
    def reader(self) -> Reader: ...
    @property
    def recorder(self) -> Recorder: ...
    def runtime(self) -> Runtime: ...

    def take_back(
        self,
        student: str,
        to: Literal["retired", "paused"],
        *,
        actor: str,
        reason: str,
        retrain: bool = False,
    ) -> None:
        """Stops a student from serving. Raises gateway.errors.NotFound for an unknown or retired student."""

    def wish(
        self, student: str, action: Literal["promote", "resume", "retrain"], *, actor: str, reason: str
    ) -> None:
        """Asks the trainer, who alone may give traffic to a student. Raises gateway.errors.NotFound."""

    def switch_students(self, *, off: bool, actor: str, reason: str) -> None: ...
    def audit(self, actor: str, action: str, subject: str, reason: str) -> None: ...

    def watch_numbers(self, student: str) -> dict[str, float]:
        """``reasks, agreement, agreement_low, agreement_high, evidence, alarm_at, error_rate, p95_ms`` of a
        serving student since its epoch; {} when it is not watched."""

    def config_status(self) -> dict[str, str]:
        """``{"digest", "loaded_at", "problem"}``; problem is "" while the newest policies are in force."""
