"""Keys in the policies whose lists of models name something that nobody serves: a warning with its line, never an error,
since the task may come later."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import main
from gateway.policy.files import read

POLICIES = """
providers:
  openai: {{type: openai, api_key: "${{NOT_SET_ANYWHERE}}"}}
  claude: {{type: anthropic, api_key: sk-of-anthropic}}
  local: {{type: openai, base_url: 'http://127.0.0.1:9/v1', profile: vllm}}
aliases: {{quick: openai/gpt-4o-mini}}
prices: {{local: {{mine: {{input: 1.0, output: 1.0}}}}}}
{more}
tasks:
  - {{name: support-triage, candidates: [{{provider: claude, model: claude-sonnet-4-5}}], match: [{{model: gpt-old}}]}}
keys:
  - {{name: any, key: app-a-key-for-everything-0001}}
  - name: app
    key: app-a-key-for-the-application-1
    models:
      - support-triage
      - {name}
"""


def told(folder: Path, name: str, more: str = "") -> list[str]:
    folder.mkdir(exist_ok=True)
    (folder / "gateway.yaml").write_text(POLICIES.format(name=name, more=more))
    return [str(one) for one in read(folder, {}).warnings if "keys[" in str(one)]


@pytest.mark.parametrize("name", [
    "quick", "gpt-old", "mine", "openai/whatever-is-new", "local/anything", "gpt-4o-mini", "claude-sonnet-4-5",
    "ft:triage:acme:1",
])  # fmt: skip
def test_what_somebody_serves_is_no_matter(tmp_path: Path, name: str) -> None:
    assert told(tmp_path, name) == []


@pytest.mark.parametrize(("name", "meant"), [
    ("suport-triage", "support-triage"), ("quik", "quick"), ("gpt-4o-mimi", "gpt-4o-mini"), ("opnai/gpt-4o", "openai/gpt-4o"),
])  # fmt: skip
def test_a_misspelt_name_is_told_with_its_line_and_what_was_meant(tmp_path: Path, name: str, meant: str) -> None:
    (line,) = told(tmp_path, name)
    assert f"gateway.yaml:17: keys[1].models[1]: nobody serves '{name}'" in line and line.endswith(f"Did you mean '{meant}'?")
    surface = "surface: {embeddings: local}"
    assert len(told(tmp_path, name, surface)) == 1 and told(tmp_path, "xyzzy", surface) == [], "it is asked for any name"
    (line,) = told(tmp_path, "xyzzy")
    assert "Did you mean" not in line


def test_what_two_providers_have_has_to_be_named_with_one(tmp_path: Path) -> None:
    both = POLICIES.replace("aliases:", "  second: {{type: openai, api_key: sk-of-second}}\naliases:")
    (tmp_path / "gateway.yaml").write_text(both.format(name="gpt-4o", more=""))
    (line,) = [str(one) for one in read(tmp_path, {}).warnings if "keys[" in str(one)]
    assert line.endswith("Name one of: openai/gpt-4o, second/gpt-4o.")


def test_the_command_that_checks_says_it_and_finds_the_policies_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(tmp_path / "policies", "suport-triage")
    assert main(["check", "--policies", str(tmp_path / "policies")]) == 0
    said = capsys.readouterr().out
    assert "warning: policies/gateway.yaml:17: keys[1].models[1]: nobody serves 'suport-triage'" in said
