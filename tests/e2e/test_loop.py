"""The whole loop on real parts: every process, real sockets, the unmodified openai client, a simulated teacher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 900  # on a quiet machine it takes two minutes


def test_from_a_call_to_a_promoted_student_and_back(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.demo",
        "--home",
        str(tmp_path),
        "--fresh",
        "--plain",
        "--exit",
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    done = subprocess.run(  # noqa: PLW1510 - the exit code is asserted below
        [*command, "--json", str(figures)], cwd=ROOT, env=env, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "SIMULATED" in done.stdout
    assert "VALID: the signature is genuine" in done.stdout
    found = json.loads(figures.read_text())
    # money: what was paid per call while the student was live, re-asks included, against before
    assert found["live_usd_per_1000_calls"] < 0.6 * found["before_usd_per_1000_calls"]
    # agreement on fresh, randomly re-asked calls: the interval must reach the certified level
    assert found["live_agreement"]["n"] >= 50
    assert found["live_agreement"]["high"] >= 0.95
    assert found["canary_agreement"]["low"] > 0.90
    home = tmp_path / "demo"
    certificates = sorted(
        path.name.split("-v1-")[1].split("-")[0] for path in home.glob("certificates/*-v1-*.json")
    )
    assert certificates == ["canary", "live", "shadow"]
    check = [sys.executable, "-m", "gateway.cli", "verify", "--home", str(home)]
    for certificate in home.glob("certificates/*-v1-*.json"):
        assert (
            subprocess.run([*check, str(certificate)], cwd=ROOT, capture_output=True, check=False).returncode
            == 0
        )
        forged = tmp_path / "forged.json"
        forged.write_text(certificate.read_text().replace('"agree":true', '"agree":false', 1).replace("[true", "[false", 1)
                          .replace('"seed":', '"seed":1', 1))  # fmt: skip
        assert (
            subprocess.run([*check, str(forged)], cwd=ROOT, capture_output=True, check=False).returncode == 1
        )
