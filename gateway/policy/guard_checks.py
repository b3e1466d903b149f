"""Checks of guardrails: the tests that stand beside their settings, and whom they name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from gateway.config import Config
from gateway.guardrails import GuardrailSettings, Trial
from gateway.guardrails.verdict import changed, spelled_out
from gateway.masking import Masker
from gateway.policy.convert import did_you_mean
from gateway.policy.reading import Path, Problem, Source

_ANSWERS = frozenset({"output", "tool_arguments"})


class View(Protocol):
    """The configuration beside the data it was read from; ``gateway.policy.checks`` makes it."""

    @property
    def config(self) -> Config: ...
    @property
    def source(self) -> Source: ...
    @property
    def unclean(self) -> set[Path]: ...
    def names(self, section: str) -> list[str]: ...
    def problem(self, path: Path, message: str, hint: str = "") -> Problem: ...


def guardrails(view: View) -> Iterator[Problem]:
    """What is wrong with each guardrail that could be read."""
    tasks = view.names("tasks")
    for name, guard in view.config.guardrails.items():
        path: Path = ("guardrails", name)
        if path in view.unclean:
            continue
        for index, task in enumerate(guard.tasks):
            if task not in tasks:
                hint = did_you_mean(task, tasks)
                yield view.problem((*path, "tasks", index), f"no task is named '{task}'.", hint)
        if not guard.asks:
            raw = view.source.data.get("guardrails", {}).get(name, {})
            for setting in ("timeout_ms", "parallel"):
                if isinstance(raw, dict) and setting in raw:
                    message = "this guardrail asks nobody, so there is nothing to bound."
                    yield view.problem((*path, setting), message, "Leave it out.")
        for index, trial in enumerate(guard.tests):
            why = failure(guard, trial)
            if why:
                yield view.problem((*path, "tests", index), f"this test fails: {why}.")


def failure(guard: GuardrailSettings, trial: Trial) -> str:
    """Why a guardrail does not do what its test expects; "" when it does."""
    if trial.becomes is not None and trial.expect not in ("mask", "rewrite"):
        return f"a text can become another by mask or rewrite, and '{trial.expect}' is expected"
    try:
        action, becomes = outcome(guard, trial)
    except Exception as problem:
        return f"the guardrail itself failed ({type(problem).__name__})"
    if action != trial.expect:
        return f"expected {trial.expect}, got {action}"
    if trial.becomes is not None and becomes != trial.becomes:
        return f"expected {trial.becomes!r}, got {becomes!r}"
    return ""


def outcome(guard: GuardrailSettings, trial: Trial) -> tuple[str, str]:
    """(action, the text that passes on), as in a call that is not in shadow."""
    if not guard.reads(trial.direction):
        return "allow", trial.text
    verdict = spelled_out(guard.check(trial.text, "out" if trial.direction in _ANSWERS else "in"), trial.text)
    masker = Masker()
    masker.reserve(trial.text)
    return verdict.action, changed(trial.text, [verdict], masker)
