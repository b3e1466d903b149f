"""What of the policies and the students a cached answer hangs on: what concerns its own task, and nothing else."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from small_fakes import exchange_of, runtime_of

from gateway.config import CandidateRef, Capture, Config, Limits, Policy, SemanticCache, Server, Task, YamlKey
from gateway.guardrails.blocklist import Blocklist
from gateway.providers import ClassifierProvider, OpenAIProvider
from gateway.stages.cache_key import cache_key
from optimizer.rollout import Stage, Student

PROVIDERS = {"a": OpenAIProvider(api_key="x"), "students": ClassifierProvider()}
FAQ = Task(name="faq", policy="cheap", cache=True)
TRIAGE = Task(name="triage", candidates=[CandidateRef("a", "m")], cache=True)
CHEAP = Policy(name="cheap", candidates=[CandidateRef("a", "m")])
OTHER = Policy(name="other", candidates=[CandidateRef("a", "m")])
BASE = Config(providers=PROVIDERS, tasks=[FAQ, TRIAGE], policies=[CHEAP, OTHER], digest="d1")


def student(**more: Any) -> Student:
    usual = {"id": "s1", "project": "p1", "task": "triage", "fingerprint": "f", "version": 1, "recipe": "classifier",
             "round": 1, "threshold": 0.9, "stage": Stage.LIVE, "epoch": 1}  # fmt: skip
    return Student(**{**usual, **more})


def key(config: Config = BASE, model: str = "faq", students: Any = ()) -> str:
    view = runtime_of(config, students=students)
    return cache_key(exchange_of(view, {"model": model}), view.tasks.get(model))


def test_what_concerns_other_tasks_leaves_a_tasks_answers_where_they_are() -> None:
    for change in (
        {"digest": "d2"},
        {"keys": [YamlKey(name="k", key="a-key-for-the-tests-0002", project="p1")]},
        {"server": Server(port=9000)},
        {"tasks": [FAQ, replace(TRIAGE, policy="other")]},
        {"policies": [CHEAP, replace(OTHER, sticky="user")]},
        {"tasks": [replace(FAQ, capture=Capture(), limits=Limits(), semantic_cache=SemanticCache()), TRIAGE]},
    ):
        assert key(replace(BASE, **change)) == key(), change  # type: ignore[arg-type]
    for students in ([student()], [student(epoch=2)], [student(paused=True)], [student(task="faq", project="p2")]):
        assert key(students=students) == key(), students


def test_what_concerns_the_task_itself_does_not() -> None:
    changed: list[dict[str, Any]] = [
        {"policies": [replace(CHEAP, sticky="user"), OTHER]},
        {"tasks": [replace(FAQ, policy="other"), TRIAGE]},
        {"providers": {**PROVIDERS, "a": OpenAIProvider(api_key="x", base_url="http://127.0.0.1:9/v1")}},
        {"guardrails": {"words": Blocklist(phrases=["x"])}},
        {"aliases": {"quick": "faq"}},
    ]
    keys = [key(), *(key(replace(BASE, **change)) for change in changed)]
    mine = student(task="faq")
    states = [[mine], [replace(mine, epoch=2)], [replace(mine, paused=True)], [mine, student(id="s2", task="faq")]]
    keys += [key(students=students) for students in states]
    assert len(set(keys)) == len(keys)
    assert key(replace(BASE, digest="d9"), students=[mine]) == key(students=[mine])


def test_a_student_of_another_task_counts_where_a_policy_names_it_and_where_a_client_does() -> None:
    borrowing = replace(BASE, policies=[replace(CHEAP, candidates=[CandidateRef("students", "triage")]), OTHER])
    assert key(borrowing, students=[student()]) != key(borrowing, students=[student(epoch=2)])
    for named in ("students/s1", "s1"):
        assert key(BASE, named, [student()]) != key(BASE, named, [student(paused=True)])
        assert key(BASE, named, [student(), student(id="s2")]) == key(BASE, named, [student()])
    assert key(BASE, "a/m", [student()]) == key(BASE, "a/m")


def test_the_switch_for_all_students_counts_where_there_is_one() -> None:
    view, off = (runtime_of(BASE, students=[student()]) for _ in range(2))
    off = replace_snapshot(off)
    for model, same in (("faq", True), ("triage", False)):
        keys = [cache_key(exchange_of(one, {"model": model}), one.tasks[model]) for one in (view, off)]
        assert (keys[0] == keys[1]) is same, model


def replace_snapshot(view: Any) -> Any:
    from gateway.runtime import build_runtime

    return build_runtime(view.config, replace(view.snapshot, students_off=True))


def test_two_workers_that_read_the_same_policies_share_their_answers() -> None:
    """A value without JSON must not be told apart by its address."""

    def fresh() -> Config:
        rules = {"words": Blocklist(phrases=["x", "y"])}
        return replace(BASE, providers={"a": OpenAIProvider(api_key="x")}, guardrails=rules)

    assert key(fresh()) == key(fresh())
