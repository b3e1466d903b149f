"""`understudy replay`: recorded draws under another policy, from the spool to the terminal."""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.cli import main
from gateway.config import Spool as SpoolSettings
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.migrations import migrate
from gateway.storage.records import Attempt, CallRecord, FeedbackRecord
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.spooling.spool import Spool
from gateway.storage.writing.writer import SqlWriter

GATEWAY = """\
providers:
  a: {type: openai, base_url: "http://127.0.0.1:9/v1", api_key: key-a}
  b: {type: openai, base_url: "http://127.0.0.1:9/v1", api_key: key-b}
keys: [{name: app, key: key-of-the-app-16-long}]
prices: {a: {m: {input: 10, output: 10}}, b: {m: {input: 1, output: 1}}}
"""
ROUTING = """\
tasks:
  - name: triage
    policy: RULED
    rules: [{when: {metadata: {tier: gold}}, policy: dear}]
policies:
  - {name: dear, candidates: [{provider: a, model: m}, {provider: b, model: m}]}
  - {name: cheap, strategy: least_cost, candidates: [{provider: a, model: m}, {provider: b, model: m}]}
  - {name: fast, strategy: {type: least_latency, explore: 0}, candidates: [{provider: b, model: m}, {provider: a, model: m}]}
  - {name: other, candidates: [{provider: a, model: newer}]}
  - {name: bandit, strategy: {type: bandit}, candidates: [{provider: a, model: m}, {provider: b, model: m}]}
"""
COST = {"a": 0.001, "b": 0.0001}
LATENCY = {"a": 50.0, "b": 200.0}


def recorded(rng: random.Random, number: int, at: float, **changes: Any) -> CallRecord:
    drawn = "a" if rng.random() < 0.6 else "b"
    ok = rng.random() < (0.95 if drawn == "a" else 0.85)
    latency = LATENCY[drawn] * rng.uniform(0.8, 1.2)
    record = CallRecord(
        id=f"call-{number}", request_id="", created_at=at, project="default", key_id="yaml:app", end_user="", session="",
        task="triage", fingerprint="f", model_asked="triage", provider=drawn, model="m", student="",
        status="ok" if ok else "error", http_status=200, error_code="", stream=False, latency_ms=latency,
        first_byte_ms=None, overhead_ms=0.1,
        attempts=[Attempt(drawn, "m", "plain", "ok" if ok else "failed", 200, latency)],
        prompt_tokens=50, cached_tokens=0, completion_tokens=50, tokens_estimated=False, cost_usd=COST[drawn],
        teacher_cost_usd=None, confidence=None, arm="plain", propensity=0.6 if drawn == "a" else 0.4, reason="",
        config_digest="d", verdicts=[], metadata={"tier": "gold"} if number % 4 == 0 else {}, drawn=f"{drawn}/m",
    )  # fmt: skip
    return msgspec.structs.replace(record, **changes)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Policies, and a home with 800 calls that a weighted policy drew."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "gateway.yaml").write_text(GATEWAY)
    (policies / "routing.yaml").write_text(ROUTING.replace("RULED", "cheap"))
    home = Home.from_env().prepare()
    migrate(home.database_url)
    rng, start = random.Random(5), time.time() - 3600
    spool = Spool(home, SpoolSettings())
    for number in range(800):
        spool.append(recorded(rng, number, start + number))
    for number, odd in enumerate(({"arm": "live"}, {"status": "client_closed"}, {"drawn": ""}, {"task": "other"})):
        spool.append(recorded(rng, 900 + number, start, cost_usd=99.0, **odd))
    spool.close()
    writer = SqlWriter(write_engine(home.database_url))
    Ingester(home, writer, threading.Event()).drain()
    writer.close()
    return policies


def told(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert main(["replay", "--task", "triage", "--policies", str(folder), "--json", *more]) == 0
    return {one["what"]: one["result"] for one in json.loads(capsys.readouterr().out)}


def test_the_cheaper_policy_costs_what_its_candidate_costs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(folder, capsys, "--policy", "cheap")
    assert found["cost"]["n"] == 800, "a student's call, a client that left and calls without a draw stay out"
    assert found["cost"]["dr"] == pytest.approx(COST["b"], rel=0.05)
    assert found["success"]["low"] <= 0.85 <= found["success"]["high"]
    assert found["success"]["reason"] == ""


def test_rules_are_followed_by_what_was_recorded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A quarter of the calls is gold and goes to the dear candidate."""
    truth = 0.25 * COST["a"] + 0.75 * COST["b"]
    found = told(folder, capsys)["cost"]
    assert found["low"] <= truth <= found["high"]
    assert found["dr"] == pytest.approx(truth, rel=0.1)


def test_latency_is_what_had_been_seen_until_then(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(folder, capsys, "--policy", "fast")["latency"]
    assert found["low"] <= LATENCY["a"] <= found["high"] or found["dr"] == pytest.approx(LATENCY["a"], rel=0.05)


def test_a_candidate_without_a_past_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--task", "triage", "--policies", str(folder), "--policy", "other"]) == 0
    assert "Not to be relied on: a/newer would get 100.0% of the calls and was never drawn" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--task", "triage", "--policy", "bandit"], "is a bandit: it learns while it serves"),
        (["--task", "triage", "--policy", "nobody"], "there is no policy 'nobody'"),
        (["--task", "unknown"], "the policies know no task 'unknown'"),
        (["--task", "triage", "--days", "0.00001"], "no call of 'triage' with a logged draw"),
        (["--task", "triage", "--days", "-1"], "must be above zero"),
    ],
)
def test_what_cannot_be_replayed_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], why: str
) -> None:
    assert main(["replay", "--policies", str(folder), *options]) == 1
    assert why in capsys.readouterr().err


def test_headers_are_not_recorded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = ROUTING.replace("RULED", "cheap").replace("metadata: {tier: gold}", "header: {x-tier: gold}")
    (folder / "routing.yaml").write_text(text)
    assert main(["replay", "--task", "triage", "--policies", str(folder)]) == 1
    assert "headers are not recorded" in capsys.readouterr().err


def test_compare_names_the_best_candidate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--task", "triage", "--policies", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["name"]: one["n"] for one in found["contenders"]}.keys() == {"a/m", "b/m"}
    assert sum(one["n"] for one in found["contenders"]) == 800
    assert found["winner"] in ("", "a/m"), "a succeeds more often and is faster, b is cheaper"
    assert main(["compare", "--task", "triage", "--policies", str(folder)]) == 0
    assert "UNDECIDED" in (told := capsys.readouterr().out) or "BEST: a/m" in told


def test_complaints_of_calls_and_of_sessions_weigh_before_worth(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, rng, start = Home.from_env(), random.Random(7), time.time() - 60
    spool = Spool(home, SpoolSettings())
    calls = [
        recorded(rng, 2000 + number, start, session=f"s{number // 4}" if number % 2 else "") for number in range(600)
    ]
    for call in calls:
        spool.append(call)
    for call in calls:
        if call.drawn == "a/m":  # long after, some for the call and some for its session
            said = (call.id, "") if not call.session else ("", call.session)
            spool.append(FeedbackRecord(*said, "default", "yaml:app", time.time(), 0.0))
    spool.close()
    writer = SqlWriter(write_engine(home.database_url))
    Ingester(home, writer, threading.Event()).drain()
    writer.close()
    assert main(["compare", "--task", "triage", "--policies", str(folder), "--json"]) == 0
    found = {one["name"]: one["guards"][0] for one in json.loads(capsys.readouterr().out)["contenders"]}
    assert found["a/m"]["high"] < found["b/m"]["low"]
    assert found["a/m"]["n"] < 800 + 600
    assert main(["compare", "--task", "triage", "--policies", str(folder)]) == 0
    assert "content" in capsys.readouterr().out


def test_compare_says_what_it_lacks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, why in ((["--task", "unknown"], "know no task"), (["--task", "triage", "--days", "0.00001"], "drawn at random")):
        assert main(["compare", "--policies", str(folder), *options]) == 1
        assert why in capsys.readouterr().err
