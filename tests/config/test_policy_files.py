"""Policies: what is read, what is refused and with which words, and what happens when they change."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from policy_cases import BOMB, CASES, GATEWAY, KEY, ROUTING

from gateway.policy.files import PolicyError, PolicyWatcher, load, read
from gateway.providers import OpenAIProvider
from optimizer.gates.agreement import Agreement
from optimizer.routing.strategies import Cascade

ROOT = Path(__file__).resolve().parents[2]
ENV = {"OPENAI_API_KEY": "sk-1"}


def write(folder: Path, files: dict[str, str]) -> Path:
    policies = folder / "policies"
    policies.mkdir(exist_ok=True)
    for name, text in {"gateway.yaml": GATEWAY, "routing.yaml": ROUTING, **files}.items():
        (policies / name).write_text(text, encoding="utf-8")
    return policies


def said(folder: Path, env: dict[str, str] = ENV) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load(folder, env)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(("files", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_mistake_is_named_with_its_place_and_its_cure(
    tmp_path: Path, files: dict[str, str], expected: list[str]
) -> None:
    problems = said(write(tmp_path, files))
    assert len(problems) == len(expected), problems
    for problem, beginning in zip(problems, expected, strict=True):
        assert problem.startswith(f"policies/{beginning}")
        assert str(tmp_path) not in problem


def test_a_good_folder(tmp_path: Path) -> None:
    config = load(write(tmp_path, {}), ENV)
    assert config.providers["openai"] == OpenAIProvider(api_key="sk-1")
    assert config.policies[0].strategy == Cascade()
    assert config.tasks[0].learn is not None
    assert config.disabled_providers == ()


def test_every_mistake_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    files = {
        "gateway.yaml": GATEWAY.replace("8080", "-1").replace("classifier", "clasifier"),
        "routing.yaml": ROUTING.replace("target", "tarrget").replace("policy: cost_first", "policy: x"),
        "more.yaml": "keys:\n  - {name: dev, key: changeme, projct: p}\n  - {key: x}\n",
    }
    problems = said(write(tmp_path, files))
    assert [problem.split(": ")[1] for problem in problems] == [
        "server.port", "providers.students", "keys[0].projct", "keys[1]", "tasks[0].learn.tarrget",
    ]  # fmt: skip


def test_short_forms(tmp_path: Path) -> None:
    more = "promotion: {shadow: {gates: [agreement]}}\nguardrails: {privacy: pii}\n"
    routing = ROUTING.replace("    capture", "    match: gpt-4o\n    guardrails: [privacy]\n    capture")
    config = load(write(tmp_path, {"more.yaml": more, "routing.yaml": routing}), ENV)
    assert config.promotion.shadow.gates == [Agreement()]
    assert config.tasks[0].match[0].model == "gpt-4o"


def test_variables_keep_the_type_that_was_meant(tmp_path: Path) -> None:
    files = {"more.yaml": f'cache:\n  ttl_s: ${{TTL}}\nkeys: [{{name: a, key: "{KEY}${{TAIL}}"}}]\n'}
    config = load(write(tmp_path, files), {**ENV, "TTL": "12.5", "TAIL": "9"})
    assert config.cache.ttl_s == 12.5
    assert config.keys[0].key == f"{KEY}9"


def test_a_provider_without_its_key_is_disabled_and_matters_only_to_tasks_that_need_it(
    tmp_path: Path,
) -> None:
    problems = said(write(tmp_path, {}), {})
    assert problems == [
        "policies/routing.yaml:2: tasks[0]: nobody can answer task 'triage': $OPENAI_API_KEY is not set in the "
        "environment. Set it, or give the task another candidate."
    ]
    other = "  local: {type: openai, base_url: 'http://127.0.0.1:9/v1', profile: vllm}\n"
    routing = ROUTING.replace("strategy: cascade", "candidates: [{provider: local, model: small}]")
    loaded = read(write(tmp_path, {"gateway.yaml": GATEWAY + other, "routing.yaml": routing}), {})
    assert loaded.config.disabled_providers == ("openai",)
    assert [str(one) for one in loaded.warnings] == [
        "policies/gateway.yaml:3: providers.openai.api_key: provider 'openai' is disabled because "
        "$OPENAI_API_KEY is not set in the environment.",
        "policies/routing.yaml:4: tasks[0].teacher: task 'triage' learns nothing while its teacher's provider is "
        "disabled.",
    ]


def test_a_key_whose_variable_is_unset_is_left_out(tmp_path: Path) -> None:
    files = {"more.yaml": f'keys:\n  - {{name: a, key: "${{NOPE}}"}}\n  - {{name: b, key: {KEY}}}\n'}
    loaded = read(write(tmp_path, files), ENV)
    assert [key.name for key in loaded.config.keys] == ["b"]
    assert "keys[0].key: this key is left out because $NOPE" in str(loaded.warnings[0])


def test_a_public_address_needs_tls_and_a_strong_admin_key(tmp_path: Path) -> None:
    folder = write(tmp_path, {"gateway.yaml": GATEWAY.replace("127.0.0.1", "0.0.0.0, behind_tls: true")})
    assert "set UNDERSTUDY_ADMIN_KEY to a long random text" in said(folder)[0]
    assert (
        "choose a stronger UNDERSTUDY_ADMIN_KEY"
        in said(folder, {**ENV, "UNDERSTUDY_ADMIN_KEY": "changeme"})[0]
    )
    assert load(folder, {**ENV, "UNDERSTUDY_ADMIN_KEY": KEY}).server.behind_tls


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_loopback_needs_nothing(tmp_path: Path, host: str) -> None:
    assert load(write(tmp_path, {"gateway.yaml": GATEWAY.replace("127.0.0.1", f'"{host}"')}), ENV)


def test_an_alias_bomb_is_refused_quickly(tmp_path: Path) -> None:
    began = time.process_time()
    problems = said(write(tmp_path, {"more.yaml": BOMB}))
    assert any("aliases that multiply are refused" in problem for problem in problems)
    assert time.process_time() - began < 3.0


def test_a_value_that_contains_itself_is_refused(tmp_path: Path) -> None:
    assert "deeper than" in said(write(tmp_path, {"more.yaml": "cache: &a [*a]\n"}))[0]


@pytest.mark.parametrize("make", [False, True], ids=["missing", "empty"])
def test_a_folder_without_policies(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "policies"
    if make:
        folder.mkdir()
    assert said(folder) == [
        f"policies: {'holds no *.yaml file' if make else 'there is no such folder'}. "
        "Name the folder with --policies DIR."
    ]


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    folder = write(tmp_path, {})
    (folder / "more.yaml").write_bytes(b"cache:\n  x: \xff\n")
    assert said(folder) == ["policies/more.yaml:2: the file is not valid UTF-8. Save it as UTF-8."]


def test_subfolders_and_other_files_are_not_read(tmp_path: Path) -> None:
    folder = write(tmp_path, {"notes.txt": "][", "old.yaml.bak": "]["})
    (folder / "demo").mkdir()
    (folder / "demo" / "bad.yaml").write_text("][")
    assert load(folder, ENV)


def test_the_digest_depends_on_names_and_bytes_only(tmp_path: Path) -> None:
    folder = write(tmp_path, {})
    first = load(folder, ENV).digest
    os.utime(folder / "gateway.yaml", (1, 1))
    assert load(folder, {**ENV, "OPENAI_API_KEY": "other"}).digest == first
    assert len(first) == 16
    (folder / "gateway.yaml").write_text(GATEWAY + "# a comment\n")
    second = load(folder, ENV).digest
    (folder / "gateway.yaml").rename(folder / "door.yaml")
    assert len({first, second, load(folder, ENV).digest}) == 3


# ---------------------------------------------------------------- what ships
def test_the_shipped_policies_load_without_any_key() -> None:
    config = load(ROOT / "policies", {})
    assert config.disabled_providers == ("openai",)
    assert config.promotion == type(config.promotion)()


def test_the_containers_policies_load(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    shipped = [*(ROOT / "policies").glob("*.yaml"), ROOT / "deploy" / "container" / "gateway.yaml"]
    for path in shipped:
        (folder / path.name).write_bytes(path.read_bytes())
    assert load(folder, {"UNDERSTUDY_ADMIN_KEY": KEY}).server.host == "0.0.0.0"


def test_the_commented_example_task_is_right(tmp_path: Path) -> None:
    text = (
        (ROOT / "policies" / "routing.yaml")
        .read_text()
        .replace("tasks: []", "tasks:")
        .replace("\n#  ", "\n  ")
    )
    text = text.replace("may_train_on_outputs: false", "may_train_on_outputs: true")
    files = {path.name: path.read_text() for path in (ROOT / "policies").glob("*.yaml")}
    config = load(write(tmp_path, files | {"routing.yaml": text}), ENV)
    assert config.tasks[0].learn is not None
    assert config.tasks[0].match[0].system_prefix


def test_the_demonstrations_policies_say_that_they_simulate() -> None:
    config = load(ROOT / "policies" / "demo", {"UNDERSTUDY_SIMULATED_TEACHER_URL": "http://127.0.0.1:1/v1"})
    provider = config.providers["simulated"]
    assert isinstance(provider, OpenAIProvider)
    assert provider.simulated
    assert "simulated" in config.prices["simulated"]["simulated-teacher-large"].source
    assert config.tasks[0].learn is not None
    assert config.tasks[0].learn.approval == "automatic"


# ---------------------------------------------------------------- changes while running
def test_a_change_comes_into_force_once_it_rests(tmp_path: Path) -> None:
    folder = write(tmp_path, {})
    watcher = PolicyWatcher(folder, ENV, load(folder, ENV), now=0.0)
    assert watcher.poll(1.0) is None
    (folder / "gateway.yaml").write_text(GATEWAY.replace("8080", "8081"))
    assert watcher.poll(2.0) is None
    fresh = watcher.poll(3.0)
    assert fresh is not None
    assert fresh.server.port == 8081
    assert watcher.config is fresh
    assert watcher.status() == {
        "digest": fresh.digest,
        "loaded_at": "1970-01-01T00:00:03+00:00",
        "problem": "",
    }
    assert watcher.poll(4.0) is None


def test_a_bad_change_keeps_the_last_good_policies_and_says_why(tmp_path: Path) -> None:
    folder = write(tmp_path, {})
    good = load(folder, ENV)
    watcher = PolicyWatcher(folder, ENV, good, now=0.0)
    (folder / "routing.yaml").write_text(ROUTING.replace("policy: cost_first", "policy: nobody"))
    assert [watcher.poll(now) for now in (1.0, 2.0, 3.0)] == [None, None, None]
    assert watcher.config is good
    assert "routing.yaml:3: tasks[0].policy: no policy is named 'nobody'" in watcher.problem
    assert watcher.status()["digest"] == good.digest
    (folder / "routing.yaml").write_text(ROUTING)
    assert [watcher.poll(now) for now in (4.0, 5.0)] == [None, None]
    assert watcher.problem == ""
    (folder / "routing.yaml").unlink()
    (folder / "gateway.yaml").unlink()
    assert [watcher.poll(now) for now in (6.0, 7.0)] == [None, None]
    assert "holds no *.yaml file" in watcher.problem
    assert watcher.config is good
