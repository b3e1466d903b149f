"""Processes that call nobody have no provider's key in their environment, and read the same policies."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.commands import start
from gateway.policy.files import load, read
from gateway.policy.withheld import MARK, stood_in, withheld, without
from gateway.processes.supervisor import Part, _Process
from gateway.storage.home import Home

POLICIES = """
server:
  port: ${PORT_OF_TOKEN}
providers:
  openai: {type: openai, api_key: "${OPENAI_API_KEY}", headers: {x-team: "${TEAM}"}}
  cloud: {type: bedrock, region: "${REGION}", access_key_id: "${AWS_ID}", secret_access_key: "${AWS_SECRET}"}
  many: {type: openai, base_url: "${BASE}/v1", api_keys: ["${FIRST}", {key: "${SECOND}"}]}
keys: [{name: dev, key: "${CLIENT}"}]
webhooks: [{url: "http://127.0.0.1:9/hook", secret: "${HOOK}"}]
tasks:
  - name: triage
    teacher: {provider: openai, model: big, may_train_on_outputs: true}
    candidates: [{provider: openai, model: big}]
    capture: {}
    learn: {}
"""
SECRETS = {"OPENAI_API_KEY", "TEAM", "AWS_ID", "AWS_SECRET", "FIRST", "SECOND", "CLIENT", "HOOK"}
ENV = {
    **{name: f"{name.lower()}-7hG2kQ9wZx4v" for name in SECRETS},
    "PORT_OF_TOKEN": "8099", "REGION": "eu-central-1", "BASE": "http://127.0.0.1:9", "PATH": "/bin", "LANG": "C.UTF-8",
    "ANTHROPIC_API_KEY": "not-in-the-policies", "GITHUB_TOKEN": "t", "UNDERSTUDY_ADMIN_KEY": "ak", "UNDERSTUDY_ADMIN_TOTP": "t", "PGPASSWORD": "p",
    "UNDERSTUDY_SPOOL_KEY": "s", "UNDERSTUDY_DATABASE_URL": "sqlite:///x", "KEYBOARD": "de", "RAY_AUTH_TOKEN": "r",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "policies"
    made.mkdir()
    (made / "all.yaml").write_text(POLICIES)
    return made


def test_what_opens_something_is_withheld_and_nothing_else(folder: Path) -> None:
    narrow = withheld(folder, ENV, all_secrets=False)
    assert narrow == SECRETS | {"UNDERSTUDY_ADMIN_KEY", "UNDERSTUDY_ADMIN_TOTP"}
    assert withheld(folder, ENV) == narrow | {"ANTHROPIC_API_KEY", "GITHUB_TOKEN"}, "PGPASSWORD opens the database"


def test_the_policies_are_read_all_the_same(folder: Path) -> None:
    env = without(ENV, withheld(folder, ENV))
    assert not (SECRETS & set(env)) and set(env[MARK].split(",")) >= SECRETS
    there, here = load(folder, stood_in(env)), load(folder, ENV)
    assert there.disabled_providers == here.disabled_providers == ()
    assert (there.tasks, there.digest, there.server) == (here.tasks, here.digest, here.server)
    assert len(there.keys) == 1 and not any(secret in repr(there) for secret in (ENV[one] for one in SECRETS))
    assert not read(folder, stood_in(env)).warnings


def test_only_the_gateway_gets_them(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in ENV.items():
        monkeypatch.setenv(name, text)
    home = Home(tmp_path / "home").prepare()
    parts = start.tree(load(folder, ENV), home, folder, "127.0.0.1", 8080, ENV)
    told = ("python3", "-c", "import os; print(*os.environ)")
    seen = {}
    for part in parts:
        seen[part.name] = set(_run(replace(part, command=told), tmp_path / f"{part.name}.log").split())
    assert seen.pop("gateway") >= SECRETS
    assert set(seen) == {"ingester", "engine", "trainer"}
    for name, found in seen.items():
        assert not found & (SECRETS | {"UNDERSTUDY_ADMIN_KEY"}), name
        assert found >= {"UNDERSTUDY_SPOOL_KEY", "UNDERSTUDY_DATABASE_URL", "PATH", MARK}, name
    assert "ANTHROPIC_API_KEY" not in seen["trainer"]


def _run(part: Part, log: Path) -> str:
    process = _Process(part, log)
    process.start(time.monotonic())
    assert process.process is not None and process.process.wait(60) == 0, log.read_text()
    return log.read_text()
