"""Which of the configured gates a student has to pass: those that make sense for its task and its recipe."""

from __future__ import annotations

from gateway.config import Config, Task
from optimizer.gates import GateSettings, Quality, Safety, Score
from optimizer.rollout import Stage, Student


def gates_for(config: Config, task: Task, student: Student) -> list[GateSettings]:
    """The gates of the student's stage without those that could never see a call: a judge or a guardrail that is not
    there, a task that promises no grounding. A closed answer set is its teacher's own, so what is rare in answers is
    asked of the others only."""
    rules = config.promotion.shadow if student.stage is Stage.SHADOW else config.promotion.canary
    return [gate for gate in rules.gates if _applies(gate, config, task, student)]


def _applies(gate: GateSettings, config: Config, task: Task, student: Student) -> bool:
    if isinstance(gate, Quality):
        return config.promotion.judge is not None
    if isinstance(gate, Safety):
        return student.recipe != "classifier" and _measurable(gate.scorer, config, task)
    return not isinstance(gate, Score) or _measurable(gate.scorer, config, task)


def _measurable(scorer: str, config: Config, task: Task) -> bool:
    if scorer == "grounded":
        return task.learn is not None and task.learn.grounded
    if scorer == "embedding":
        return task.learn is not None and task.learn.encoder is not None
    if scorer == "judge":
        return config.promotion.judge is not None
    if scorer != "harmless":
        return True
    named = [config.guardrails[name] for name in task.guardrails] or list(config.guardrails.values())
    return any(
        guard.category is not None and not guard.shadow and guard.reads("output")
        and (not guard.tasks or task.name in guard.tasks)
        for guard in named
    )  # fmt: skip
