"""Templates of guardrails, and the tests that live beside the settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_policy_files import ENV, ROOT, said, write

from gateway.commands.care import check
from gateway.guardrails import Blocklist, Injection, Pii
from gateway.policy.files import load
from gateway.policy.templates import templates


def safety(folder: Path, text: str) -> Path:
    return write(folder, {"safety.yaml": text})


def test_the_templates_there_are() -> None:
    assert templates() == ("children", "default", "finance", "healthcare", "strict")


@pytest.mark.parametrize("name", templates())
def test_every_template_passes_its_own_tests(tmp_path: Path, name: str) -> None:
    config = load(safety(tmp_path, f"templates: [{name}]\n"), ENV)
    assert config.guardrails and all(guard.tests for guard in config.guardrails.values())


def test_what_is_written_in_the_policies_goes_before_a_template(tmp_path: Path) -> None:
    text = "templates: [finance, default]\nguardrails:\n  attacks: {type: injection, threshold: 2.0, shadow: true}\n"
    found = load(safety(tmp_path, text), ENV).guardrails
    assert found["attacks"] == Injection(threshold=2.0, shadow=True)
    assert isinstance(found["personal-data"], Pii) and isinstance(found["promises"], Blocklist)
    assert load(safety(tmp_path, "templates: [strict]\nguardrails:\n"), ENV).guardrails.keys() == {
        "personal-data", "credentials", "attacks", "prompt-leak",
    }  # fmt: skip


def test_a_task_may_name_what_a_template_brings(tmp_path: Path) -> None:
    files = {"safety.yaml": "templates: [default]\n"}
    policies = write(tmp_path, files)
    routing = (
        (policies / "routing.yaml")
        .read_text()
        .replace("    capture", "    guardrails: [attacks]\n    capture")
    )
    (policies / "routing.yaml").write_text(routing)
    assert load(policies, ENV).tasks[0].guardrails == ["attacks"]


@pytest.mark.parametrize(("text", "expected"), [
    ("templates: [defualt]\n", "safety.yaml:1: templates[0]: there is no template 'defualt'. Did you mean 'default'?"),
    ("templates: strict\n", "safety.yaml:1: templates: "),
    ("guardrails:\n  words:\n    type: blocklist\n    phrases: [falcon]\n    tests:\n"
     "      - {text: a falcon, expect: block}\n      - {text: falconer, expect: block}\n",
     "safety.yaml:7: guardrails.words.tests[1]: this test fails: expected block, got allow."),
    ("guardrails:\n  words:\n    type: blocklist\n    phrases: [x]\n    directions: [output]\n    tests:\n"
     "      - {text: x, expect: block}\n",
     "safety.yaml:7: guardrails.words.tests[0]: this test fails: expected block, got allow."),
    ("guardrails:\n  who:\n    type: pii\n    tests:\n      - {text: a@b.eu, expect: mask, becomes: '[MAIL_1]'}\n",
     "safety.yaml:5: guardrails.who.tests[0]: this test fails: expected '[MAIL_1]', got '[EMAIL_1]'."),
    ("guardrails:\n  who:\n    type: pii\n    tests:\n      - {text: a, expect: allow, becomes: a}\n",
     "safety.yaml:5: guardrails.who.tests[0]: this test fails: a text can become another by mask or rewrite"),
    ("guardrails:\n  who: {type: pii, tasks: [triag]}\n",
     "safety.yaml:2: guardrails.who.tasks[0]: no task is named 'triag'. Did you mean 'triage'?"),
    ("guardrails:\n  who: {type: pii, directions: [inputs]}\n", "safety.yaml:2: guardrails.who.directions[0]: "),
])  # fmt: skip
def test_a_mistake_has_its_place(tmp_path: Path, text: str, expected: str) -> None:
    problems = said(safety(tmp_path, text))
    assert len(problems) == 1 and problems[0].startswith(f"policies/{expected}"), problems


def test_the_check_tells_what_is_in_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from argparse import Namespace

    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    folder = safety(tmp_path, "templates: [healthcare]\n")
    assert check(Namespace(policies=folder)) == 0
    told = capsys.readouterr().out
    assert "from the templates healthcare" in told
    assert "guardrail urgent: blocklist in input, tests passed: 2" in told


def test_the_shipped_policies_name_a_template() -> None:
    assert load(ROOT / "policies", {}).templates == ["default"]
