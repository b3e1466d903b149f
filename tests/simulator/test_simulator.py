"""Row 64: fifty seeds of mixed faults over whole gateways, and the judge sees what it is there to see."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.simulator.clients import Got
from benchmarks.simulator.providers import mark
from benchmarks.simulator.script import FAULTS, WEATHER, script_of
from benchmarks.simulator.verdict import Aftermath, judge
from gateway.storage.home import Home
from gateway.storage.migrations import migrate

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 50


def test_row_64_fifty_seeds_of_mixed_faults_break_nothing() -> None:
    if shutil.which("redis-server") is None and os.environ.get("CI"):
        pytest.fail("redis-server is not installed, and CI may skip nothing")
    command = [sys.executable, "-m", "benchmarks.simulator", "--seeds", str(SEEDS), "--jobs", "5", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert json.loads(done.stdout or "null") == {}, done.stderr[-3000:]


def test_a_seed_is_a_script_and_all_faults_are_in_the_seeds() -> None:
    scripts = [script_of(seed) for seed in range(SEEDS)]
    assert msgspec.json.encode(scripts) == msgspec.json.encode([script_of(seed) for seed in range(SEEDS)])
    steps = [step for script in scripts for step in script.steps]
    assert {one for step in steps for tries in step.answers.values() for one in tries} >= set(FAULTS)
    assert {event.what for script in scripts for event in script.events} == set(WEATHER)


def test_the_judge_sees_each_kind_of_wrong(tmp_path: Path) -> None:
    home = Home(tmp_path).prepare()
    migrate(f"sqlite:///{home.database}")
    script = script_of(1)
    step = msgspec.structs.replace(script.steps[0], route="chat", stream=False, manner="stays", number=0, twin=0)
    own, other = mark(0, step.project), mark(7, "somebody")

    def told(status: int, body: str, headers: dict[str, str] | None = None, **more: bool) -> str:
        got = Got(step, status, headers or {}, body.encode(), complete=True)
        for name, value in more.items():
            setattr(got, name, value)
        return "; ".join(judge(Aftermath(script, home, [got], {})))

    assert "in no ledger" in told(200, own)
    assert "the bytes of others" in told(200, own + other)
    assert "no shape" in told(502, "<html>")
    assert "our own" in told(500, '{"error": {"message": "x", "type": "y", "param": null, "code": "internal_error"}}')
    assert "when to come again" in told(503, '{"error": {"message": "x", "type": "y", "param": null, "code": "z"}}')
    assert "was told" in told(404, '{"error": {"message": "sk-upstream-secret-a", "type": "", "param": 1, "code": 2}}')
    assert "cut off" in told(200, "", complete=False)
    assert "no end in sight" in told(0, "", complete=False, stuck=True)
    left = Aftermath(script, home, [], {}, in_use={"calls": 1.0}, tasks=["a"], files=2)
    assert len(judge(left)) == 3
