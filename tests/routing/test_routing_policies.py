"""What is refused in routing's settings, with its place; what the shipped tables hold; rewards from records."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.catalog import vendors
from gateway.config import Model
from gateway.policy.files import PolicyError, load
from gateway.routing.abilities import listed_models, model_of
from gateway.routing.named import candidates_of
from gateway.runtime import build_runtime
from gateway.storage.values import Snapshot
from optimizer.routing.facts import CAPABILITIES

GATEWAY = """\
providers:
  a: {type: openai, base_url: "http://127.0.0.1:1/v1", api_key: sk-1}
  b: {type: openai, base_url: "http://127.0.0.1:2/v1", api_key: sk-2}
"""
TASK = """\
tasks:
  - name: t
    candidates: [{provider: a, model: m}]
    rules:
      - {when: {project: [x]}, policy: p}
policies:
  - name: p
    strategy: weighted
    candidates: [{provider: a, model: m}, {provider: b, model: n, region: eu, quality: 0.5}]
"""


def written(folder: Path, routing: str = TASK, gateway: str = GATEWAY) -> Path:
    (folder / "policies").mkdir()
    (folder / "policies" / "gateway.yaml").write_text(gateway)
    (folder / "policies" / "routing.yaml").write_text(routing)
    return folder / "policies"


CASES = [
    (TASK + "aliases: {fast: a/m, t: a/m}\n", "routing.yaml:10: aliases.t: a task is named 't' too."),
    (TASK + "aliases:\n  one: two\n  two: one\n", "routing.yaml:11: aliases.one: the alias 'one' leads back"),
    (TASK + "aliases:\n  fast: taks\n", "routing.yaml:11: aliases.fast: 'taks' is neither a task"),
    (TASK.replace("policy: p}", "policy: pp}"), "routing.yaml:5: tasks[0].rules[0].policy: no policy is named 'pp'"),
    (TASK.replace("{project: [x]}", "{min_tokens: 9, max_tokens: 3}"), "routing.yaml:5: tasks[0].rules[0].when.min_tokens"),
    (TASK.replace("{project: [x]}", "{timezone: Mars/Base}"), "routing.yaml:5: tasks[0].rules[0].when.timezone: 'Mars/Base'"),
    (TASK.replace("{project: [x]}", "{start: '09:00', end: '09:00'}"), "routing.yaml:5: tasks[0].rules[0].when.end: a span"),
    (TASK.replace("{project: [x]}", "{start: '25:00'}"), "routing.yaml:5: tasks[0].rules[0].when.start"),
    (TASK.replace("{project: [x]}", "{header: {Authorization: '*'}}"), "routing.yaml:5: tasks[0].rules[0].when.header.Authorization"),
    (TASK.replace("policies:", "      - {when: {project: [x]}, policy: p}\npolicies:"), "routing.yaml:6: tasks[0].rules[1]: this rule never counts"),
    (TASK.replace("{project: [x]}", "{}").replace("policies:", "      - {when: {key: [k]}, policy: p}\npolicies:"),
     "routing.yaml:6: tasks[0].rules[1]: this rule never counts: rules[0]"),
    (TASK.replace("weighted", "{type: weighted, weights: {a/x: 2}}"), "routing.yaml:8: policies[0].strategy.weights.a/x: no candidate"),
    (TASK.replace("weighted", "least_cost\n    objective: min_cost"), "routing.yaml:9: policies[0].objective: this strategy decides"),
    (TASK.replace("weighted", "ordered\n    sticky: user"), "routing.yaml:9: policies[0].sticky: only the strategy 'weighted'"),
    (TASK.replace("weighted", "ordered\n    objective: cheapest"), "routing.yaml:9: policies[0].objective"),
    (TASK.replace("weighted", "weighted\n    objective_weights: {cost: 1}"), "routing.yaml:9: policies[0].objective_weights: these"),
    (TASK.replace("weighted", "weighted\n    constraints: {regions: [mars]}"), "routing.yaml:9: policies[0].constraints.regions[0]: no candidate or model"),
    (TASK.replace("weighted", "weighted\n    constraints: {requires: [telepathy]}"), "routing.yaml:9: policies[0].constraints.requires[0]"),
    (TASK.replace("weighted", "{type: bandit, reward: {success: 0, latency: 0, cost: 0}}"), "routing.yaml:8: policies[0].strategy.reward: the reward weighs"),
    (TASK.replace("weighted", "{type: bandit, reward: {feedback: 1}}"), "routing.yaml:8: policies[0].strategy.reward.feedback: there is no field"),
    (TASK + "models:\n  nobody: {m: {context_window: 5}}\n", "routing.yaml:11: models.nobody: no provider is named 'nobody'"),
    (TASK + "models:\n  a: {m: {context_window: 5, max_output: 6}}\n", "routing.yaml:11: models.a.m.max_output: an answer cannot"),
    (TASK.replace("    rules", "    defaults: {temperature: 3}\n    rules"), "routing.yaml:4: tasks[0].defaults.temperature"),
    (TASK.replace("    rules", "    defaults: {max_tokens: 3, max_completion_tokens: 4}\n    rules"), "routing.yaml:4: tasks[0].defaults.max_tokens: max_tokens and"),
]  # fmt: skip


@pytest.mark.parametrize(("routing", "begins"), CASES)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, routing: str, begins: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load(written(tmp_path, routing), {})
    assert any(str(one).startswith(f"policies/{begins}") for one in caught.value.problems), str(caught.value)


def test_a_good_folder_is_read_and_indexed(tmp_path: Path) -> None:
    config = load(written(tmp_path, TASK + "aliases: {fast: faster, faster: a/m}\n"), {})
    runtime = build_runtime(config, Snapshot(generation=0, keys=(), students=(), students_off=False))
    assert runtime.aliases == {"fast": "a/m", "faster": "a/m"}
    ways = runtime.ways["t"]
    assert [one.name for one in ways.usual.candidates] == ["a/m"]
    (_, way), = ways.rules  # fmt: skip
    known = way.known[way.candidates[1]]
    assert (way.candidates[1].name, known.region, known.quality) == ("b/n", "eu", 0.5)
    assert [one.name for one in candidates_of(config.tasks[0], runtime.policies)] == ["a/m", "b/n"]


def test_the_shipped_models_are_sane_and_the_operators_come_first() -> None:
    for profile in vendors():
        for name, model in listed_models(profile).items():
            assert model.context_window and (model.max_output or 1) <= model.context_window, name
            assert set(model.capabilities or ()) <= set(CAPABILITIES)
            assert model.as_of and model.source.startswith("https://")
    own = {"mine": {"gpt-4o": Model(max_output=5, region="eu")}}
    found = model_of(own, "mine", "openai", "gpt-4o")
    assert (found.context_window, found.max_output, found.region) == (128_000, 5, "eu")
    assert model_of(own, "mine", "openai", "unheard-of") == Model()
