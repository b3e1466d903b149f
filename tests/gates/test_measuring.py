"""What is measured of a student's answer beyond its letters, and which gates that leaves to pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from proving_ground import ground, saying
from scripted import Provider
from small_fakes import exchange_of, runtime_of

from gateway.config import Capture, Config, Learn, Promotion, ShadowRules, Task, Teacher
from gateway.context import Exchange
from gateway.guardrails import Blocklist
from gateway.storage.records import PairRecord
from gateway.students.measuring import Measuring, Spoken
from optimizer.gates import Agreement, Cost, GateSettings, Quality, Safety, Score
from optimizer.rollout import Stage, Student
from trainer.applicable import gates_for

GATES: list[GateSettings] = [
    Agreement(),
    Quality(),
    Safety(event="toxicity", at_most=0.005),
    Safety(event="pii", at_most=0.005),
    Safety(event="hallucination", at_most=0.01),
    Safety(event="invalid", at_most=0.01),
    Score(scorer="embedding", at_least=0.9),
    Cost(),
]
RUDE = Blocklist(phrases=["blockhead"], action="flag", category="harassment")


def task(**learn: object) -> Task:
    return Task(
        name="m",
        teacher=Teacher(provider="p", model="big", may_train_on_outputs=True),
        capture=Capture(),
        learn=Learn(**learn),  # type: ignore[arg-type]
    )


def exchange(of: Task, text: str = "mail bob@example.com about invoice 12", **body: object) -> Exchange:
    config = Config(
        tasks=[of], guardrails={"rude": RUDE}, promotion=Promotion(shadow=ShadowRules(gates=GATES))
    )
    made = exchange_of(runtime_of(config), dict(body), text=text)
    made.task = of
    return made


async def measured(made: Exchange, student: str, teacher: str = "ok", **usd: float) -> dict[str, float]:
    return await Measuring().scores(made, Spoken(student, teacher, **usd))  # type: ignore[arg-type]


async def test_personal_data_out_of_nowhere_is_a_leak() -> None:
    of = exchange(task())
    assert (await measured(of, "I wrote to bob@example.com"))["pii_free"] == 1.0
    assert (await measured(of, "I wrote to eve@example.com"))["pii_free"] == 0.0
    assert (await measured(of, "Ask eve@example.com", teacher="Eve is eve@example.com"))["pii_free"] == 1.0


async def test_harmful_answers_are_what_guardrails_with_a_category_flag() -> None:
    assert (await measured(exchange(task()), "you blockhead"))["harmless"] == 0.0
    assert (await measured(exchange(task()), "you are welcome"))["harmless"] == 1.0


async def test_grounding_is_measured_where_the_task_promises_it() -> None:
    assert "grounded" not in await measured(exchange(task()), "Invoice 99")
    of = exchange(task(grounded=True))
    assert (await measured(of, "It is invoice 99."))["grounded"] == 0.0
    assert (await measured(of, "It is invoice 12."))["grounded"] == 1.0


async def test_a_demanded_form_is_kept_or_not() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {
        "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False,
    }}}  # fmt: skip
    of = exchange(task(), response_format=form)
    assert (await measured(of, '{"a": 1}'))["schema"] == 1.0
    assert (await measured(of, '{"a": "one"}'))["schema"] == 0.0


async def test_thrift_needs_both_prices() -> None:
    of = exchange(task())
    assert (await measured(of, "x", student_usd=0.1, teacher_usd=0.4))["thrift"] == pytest.approx(0.75)
    assert (await measured(of, "x", student_usd=3.0, teacher_usd=0.4))["thrift"] == 0.0
    assert "thrift" not in await measured(of, "x", student_usd=0.1)


def kept(recipe: str, of: Task, **config: object) -> list[str]:
    student = Student(
        id="s", project="p", task="m", fingerprint="f", version=1, recipe=recipe, round=1, threshold=0.5,
        stage=Stage.SHADOW,
    )  # fmt: skip
    made = Config(tasks=[of], promotion=Promotion(shadow=ShadowRules(gates=GATES)), **config)  # type: ignore[arg-type]
    return [getattr(one, "event", "") or type(one).__name__.lower() for one in gates_for(made, of, student)]


def test_gates_that_could_never_see_a_call_are_not_asked() -> None:
    assert kept("classifier", task()) == ["agreement", "cost"]
    assert kept("sft", task()) == ["agreement", "pii", "invalid", "cost"]
    everything = task(grounded=True, encoder="/somewhere")
    assert kept("sft", everything, guardrails={"rude": RUDE}) == [
        "agreement", "toxicity", "pii", "hallucination", "invalid", "score", "cost"
    ]  # fmt: skip


PROMOTION = """promotion:
  shadow:
    gates: [agreement, {type: safety, event: pii, at_most: 0.005}, {type: cost, at_most: 0.5}]
"""


async def test_the_pairs_of_a_running_gateway_carry_what_was_measured(
    tmp_path: Path, teacher: Provider, engine: Provider
) -> None:
    teacher.behave = saying(lambda text: "ask the desk")
    engine.behave = saying(lambda text: "ask eve@example.com" if "whom" in text else "ask the desk")
    async with ground(tmp_path, teacher, engine, promotion=PROMOTION, recipe="extractor") as place:
        await place.ask("whom shall I ask")
        await place.ask("where shall I ask")
        pairs = {one.student_text: one for one in await place.pairs(2) if isinstance(one, PairRecord)}
        leak, clean = pairs["ask eve@example.com"], pairs["ask the desk"]
        assert (leak.scores["pii_free"], clean.scores["pii_free"]) == (0.0, 1.0)
        assert 0.99 < clean.scores["thrift"] <= 1.0
        assert leak.principal.endswith("/")
