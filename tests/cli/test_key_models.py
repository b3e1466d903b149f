"""``understudy keys create --models``: of a name that nobody serves one is told, and the key is made all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.access.keys import well_formed
from gateway.cli import main

POLICIES = """
providers:
  openai: {type: openai, api_key: "${NOT_SET_ANYWHERE}"}
  claude: {type: anthropic, api_key: sk-of-anthropic}
aliases: {quick: openai/gpt-4o-mini}
tasks:
  - {name: support-triage, candidates: [{provider: claude, model: claude-sonnet-4-5}], match: [{model: gpt-old}]}
"""


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("UNDERSTUDY_DATABASE_URL", raising=False)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "gateway.yaml").write_text(POLICIES)
    monkeypatch.chdir(tmp_path)


def told(capsys: pytest.CaptureFixture[str], models: str) -> list[str]:
    assert main(["keys", "create", "--name", "app", "--models", models]) == 0
    said = capsys.readouterr()
    assert well_formed(said.out.splitlines()[0]), "programs read the key from the first line"
    assert "Did you mean" not in said.out
    return said.err.splitlines()


def test_what_somebody_serves_is_no_matter(capsys: pytest.CaptureFixture[str]) -> None:
    served = "support-triage, quick, gpt-old, openai/whatever-is-new, gpt-4o-mini, claude-sonnet-4-5, claude/claude-x"
    assert told(capsys, served) == []


@pytest.mark.parametrize(("asked", "meant"), [
    ("suport-triage", "support-triage"), ("quik", "quick"), ("gpt-4o-mimi", "gpt-4o-mini"),
    ("opnai/gpt-4o-mini", "openai/gpt-4o-mini"), ("Claude-Sonnet-4-5", "claude-sonnet-4-5"),
])  # fmt: skip
def test_of_a_misspelt_name_one_hears_what_was_meant(
    capsys: pytest.CaptureFixture[str], asked: str, meant: str
) -> None:
    (line,) = told(capsys, f"support-triage,{asked}")
    assert f"--models names '{asked}'" in line and line.endswith(f"Did you mean '{meant}'?")


def test_a_name_like_no_other_is_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, "xyzzy,students/st_nobody")
    assert len(lines) == 2 and lines[0].endswith("GET /v1/models lists what there is.")


def test_what_two_providers_have_has_to_be_named_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = POLICIES.replace("aliases", "  second: {type: openai, api_key: sk-of-second}\naliases")
    (tmp_path / "policies" / "gateway.yaml").write_text(second)
    (line,) = told(capsys, "gpt-4o")
    assert line.endswith("Name one of: openai/gpt-4o, second/gpt-4o.")


def test_without_sound_policies_a_key_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policies" / "gateway.yaml").write_text("tasks: [")
    (line,) = told(capsys, "support-triage")
    assert "understudy check" in line
    assert main(["keys", "create", "--name", "all"]) == 0 and capsys.readouterr().err == ""
