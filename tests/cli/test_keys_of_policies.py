"""Keys that stand in the policies, on the command line: they are listed without their texts, and ``check`` warns of
rules and guardrails about a key or a project that nobody has."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.access.keys import new_key
from gateway.cli import main

TEXT = "app-a-key-for-the-application-1"
POLICIES = f"""
providers:
  claude: {{type: anthropic, api_key: sk-of-anthropic}}
keys:
  - {{name: app, key: {TEXT}, project: shop, models: [quick], requests_per_minute: 1, budget_usd_day: 1}}
aliases: {{quick: claude/claude-sonnet-4-5}}
policies: [{{name: cheap}}]
guardrails:
  mine:
    type: pii
    keys: [app]
    projects: [shopp]
tasks:
  - name: triage
    candidates: [{{provider: claude, model: claude-sonnet-4-5}}]
    rules:
      - {{when: {{key: ["yaml:app", batch], project: [shop, default]}}, policy: cheap}}
"""


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("UNDERSTUDY_DATABASE_URL", raising=False)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "gateway.yaml").write_text(POLICIES)
    monkeypatch.chdir(tmp_path)


def warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert main(["check"]) == 0
    return [line for line in capsys.readouterr().out.splitlines() if "nobody has" in line]


def test_a_key_that_was_made_here_may_stand_in_the_policies(tmp_path: Path) -> None:
    policies = tmp_path / "policies" / "gateway.yaml"
    policies.write_text(POLICIES.replace(TEXT, new_key("inference").text))
    assert main(["check"]) == 0


def test_check_warns_of_keys_and_projects_that_nobody_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule, guard = warnings(capsys)
    assert "gateway.yaml:17: tasks[0].rules[0].when.key[1]: nobody has a key 'batch'." in rule
    assert "gateway.yaml:12: guardrails.mine.projects[0]: nobody has a key of the project 'shopp'." in guard
    assert guard.endswith("Did you mean 'shop'?")
    assert not (tmp_path / "home").exists(), "a check leaves nothing behind"


def test_a_key_that_was_made_is_somebodys_until_it_is_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "--name", "batch", "--project", "shopp"]) == 0
    assert warnings(capsys) == []
    assert main(["keys", "revoke", "batch"]) == 0
    assert len(warnings(capsys)) == 2


def test_a_database_that_cannot_be_read_is_said_and_no_key_is_called_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "understudy.db").write_bytes(b"no database at all, by any means" * 100)
    assert main(["check"]) == 0
    said = capsys.readouterr()
    assert "nobody has" not in said.out and "the database cannot be read" in said.err


def test_the_list_has_the_keys_of_the_policies_and_none_of_their_texts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["keys", "list"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (
        "yaml:app  shop/app  in the policies  inference,data,train  quick  1 request a minute, 1 US dollar a day  "
        "valid without end"
    )
    assert main(["keys", "create", "--name", "batch", "--rpm", "2000"]) == 0
    capsys.readouterr()
    assert main(["keys", "list"]) == 0
    made, written = capsys.readouterr().out.splitlines()
    assert "default/batch" in made and "2,000 requests a minute" in made and written == line
    assert TEXT not in made + written and TEXT[-4:] not in written


def test_policies_that_cannot_be_read_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policies" / "gateway.yaml").write_text("keys: 3")
    assert main(["keys", "list"]) == 0
    said = capsys.readouterr()
    assert "There are no keys" in said.out and "the policies cannot be read" in said.err


@pytest.mark.parametrize(("grace", "told"), [("1", "for 1 more hour."), ("1.5", "for 1.5 more hours.")])
def test_an_hour_is_one(capsys: pytest.CaptureFixture[str], grace: str, told: str) -> None:
    assert main(["keys", "create", "--name", "app", "--rpm", "1"]) == 0
    assert "1 request a minute" in capsys.readouterr().out
    assert main(["keys", "rotate", "app", "--grace", grace]) == 0
    assert told in capsys.readouterr().out


@pytest.mark.parametrize("command", ["revoke", "rotate"])
@pytest.mark.parametrize("ref", ["app", "yaml:app"])
def test_a_key_of_the_policies_is_changed_there(
    capsys: pytest.CaptureFixture[str], command: str, ref: str
) -> None:
    assert main(["keys", command, ref]) == 1
    assert f"the key '{ref}' stands in the policies" in capsys.readouterr().err
    assert main(["keys", command, "nobody"]) == 1
    assert "No key has the id, name or hint 'nobody'" in capsys.readouterr().err


def test_explain_knows_it_by_both_its_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "request.json").write_text('{"model": "quick", "messages": [{"role": "user", "content": "hi"}]}')
    for ref in ("app", "yaml:app"):
        assert main(["explain", "--body", "request.json", "--key", ref]) == 0, capsys.readouterr()


def test_webhooks_and_limits_of_a_project_that_nobody_is_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = (
        "webhooks: [{url: 'https://hooks.example.com/x', secret: 0123456789abcdef, project: shpo}]\n"
        "limits: {projects: {shop: {concurrency: 1}, shpp: {concurrency: 1}, default: {concurrency: 9}}}\n"
    )
    (tmp_path / "policies" / "gateway.yaml").write_text(POLICIES + more)
    found = [line for line in warnings(capsys) if "tasks[0]" not in line and "guardrails" not in line]
    assert len(found) == 2 and all(line.endswith("Did you mean 'shop'?") for line in found)
    assert "webhooks[0].project" in found[0] and "limits.projects.shpp" in found[1]


@pytest.mark.parametrize("command", [["savings"], ["runs", "list"], ["verify", "--journal"]])
def test_before_anything_has_run_a_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert main(command) == 1
    said = capsys.readouterr().err
    assert f"there is no database in {tmp_path / 'home'} yet" in said and "understudy up" in said
