"""What training a language model costs and what each objective achieves, side by side.

    python -m benchmarks.training                          # a blank model of 0.4 million parameters on a CPU
    python -m benchmarks.training --config accelerator     # 0.5 billion parameters, bf16; needs a GPU with 40 GB

Each line of the table is a process of its own (``python -m trainer.training.measure``), so peak memory is that of one
training. The rows compare forward and reverse KL and the generalised JS at equal tokens, and learning from the
teacher's answers with learning from the student's own, which a local teacher scores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONFIGS = {
    "tiny": ["--make", "128x2", "--rows", "400", "--epochs", "6", "--learning-rate", "3e-3", "--threads", "1"],
    "accelerator": [
        "--make", "1280x24x32000", "--rows", "8000", "--epochs", "2", "--batch-tokens", "32768", "--max-length", "2048",
        "--precision", "bf16", "--learning-rate", "3e-4", "--teacher-rate", "3e-4", "--exam", "1000",
    ],
}  # fmt: skip
LINES: tuple[tuple[str, list[str]], ...] = (
    ("sft", []),
    ("sft, LoRA", ["--adapt", "lora"]),
    ("forward KL", ["--objective", "forward_kl"]),
    ("reverse KL", ["--objective", "reverse_kl"]),
    ("JS", ["--objective", "js"]),
    ("forward KL, half on-policy", ["--objective", "forward_kl", "--on-policy", "0.5"]),
    ("reverse KL, half on-policy", ["--objective", "reverse_kl", "--on-policy", "0.5"]),
)


def run(arguments: list[str]) -> dict[str, Any]:
    """Figures of one training. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        command = [sys.executable, "-W", "ignore", "-m", "trainer.training.measure", "--json", str(figures)]
        subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(figures.read_bytes())
        return found


def line(name: str, one: dict[str, Any]) -> str:
    mfu = "" if one["mfu"] is None else f"{one['mfu']:.1%}"
    agreement = f"{one['agreement']:.1%} ({one['agreement_low']:.1%}–{one['agreement_high']:.1%})"
    memory = f"{one['peak_bytes'] / 2**30:.2f} GiB"
    speed = f"{one['tokens_per_second']:,.0f}"
    return f"| {name} | {one['tokens']:,} | {one['steps']} | {speed} | {mfu} | {memory} | {agreement} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.training", description="Training, measured.")
    parser.add_argument("--config", choices=sorted(CONFIGS), default="tiny")
    parser.add_argument("--peak-tflops", type=float, default=0.0, help="of the device, for the utilisation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="lines whose name contains this")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    more = [*CONFIGS[options.config], "--peak-tflops", str(options.peak_tflops), "--seed", str(options.seed)]
    found = {name: run([*more, *arguments]) for name, arguments in LINES if options.only in name}
    first = next(iter(found.values()))
    print(
        f"{first['parameters']:,} parameters on {first['device']}; agreement on {first['n']} fresh inputs (95 %)\n"
    )
    print(
        "| objective | tokens | steps | tokens/s | MFU | peak memory | agreement |\n|---|---|---|---|---|---|---|"
    )
    for name, one in found.items():
        print(line(name, one))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
