"""The measuring command runs with a model made on the spot, and reports what it says it reports."""

from __future__ import annotations

import json
import subprocess
import sys


def test_one_training_is_measured(torch, tmp_path) -> None:
    figures = tmp_path / "figures.json"
    command = [
        sys.executable, "-W", "ignore", "-m", "trainer.training.measure", "--make", "64x1", "--rows", "60", "--exam", "20", "--epochs", "1",
        "--objective", "reverse_kl", "--on-policy", "1", "--threads", "1", "--peak-tflops", "0.1", "--json", str(figures),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    found = json.loads(figures.read_bytes())
    assert found["n"] == 20
    assert found["agreement_low"] <= found["agreement"] <= found["agreement_high"]
    assert found["tokens"] > found["answer_tokens"] > 0
    assert found["mfu"] > 0
    assert found["peak_bytes"] > 10 * 2**20
