"""A person who asks for the lesson of a task that does not learn is told what is missing, not that it was there once."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_curate_tells_what_a_task_needs_to_learn(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway.cli", "--policies", str(ROOT / "policies"), "--home", str(tmp_path), "curate", "nobody-named-this"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert told.returncode == 1
    assert "the task 'nobody-named-this' learns: it needs `learn:`" in told.stdout + told.stderr
    assert "Traceback" not in told.stderr
