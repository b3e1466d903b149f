"""What we build has the same bytes wherever it is built."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _wheel(source: Path, target: Path, umask: int) -> str:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    env = {**os.environ, "TZ": "Asia/Tokyo" if umask else "UTC", "PYTHONHASHSEED": str(umask)}
    subprocess.run(command, cwd=source, env=env, check=True, capture_output=True, umask=umask)
    (made,) = target.glob("*.whl")
    return hashlib.sha256(made.read_bytes()).hexdigest()


def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    """From two checkouts, at two times, with another umask, time zone and hash seed."""
    wanted = ("pyproject.toml", "README.md", "LICENSE", "gateway", "optimizer", "trainer", "admin_ui", "policies", "benchmarks")
    ignore = shutil.ignore_patterns("__pycache__")
    made = []
    for number, umask in enumerate((0o077, 0)):
        source = tmp_path / f"source{number}"
        source.mkdir()
        for name in wanted:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / name, ignore=ignore, copy_function=shutil.copyfile if number else shutil.copy2)
            else:
                shutil.copyfile(ROOT / name, source / name)
        made.append(_wheel(source, tmp_path / f"wheel{number}", umask))
    assert made[0] == made[1]
