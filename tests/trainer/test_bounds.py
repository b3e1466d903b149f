"""A lesson that needs more memory than it may use fails and says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lesson_home import FINGERPRINT, policies, with_calls

from gateway.config import Trainer
from gateway.storage.commands import EnqueueRun
from gateway.storage.values import Run
from gateway.storage.writing.writers import open_writer
from trainer import bounds
from trainer.messages import Failed, decode

MIB = 1024 * 1024


def test_three_quarters_of_the_machine_or_what_the_policies_say() -> None:
    there = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal:")
    )
    found = bounds.most(Trainer())
    assert found is not None and 0 < found <= 0.75 * there + 1
    assert bounds.most(Trainer(max_memory_bytes=512 * MIB)) == 512 * MIB


def test_a_container_has_less_than_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "memory_bound", lambda: 400 * MIB)
    assert bounds.most(Trainer()) == 300 * MIB
    monkeypatch.setattr(bounds, "memory_bound", lambda: None)
    assert bounds.most(Trainer()) != 300 * MIB


HUNGRY = """
import numpy, sys
from trainer import bounds
bounds.hold(256 * 1024 * 1024)
for what in (lambda: bytearray(2**30), lambda: numpy.ones(2**27), lambda: [b"x" * 2**20 for _ in range(1000)]):
    try:
        what()
    except BaseException as problem:
        assert bounds.too_little(problem), repr(problem)
    else:
        sys.exit("it got more than it may have")
bytearray(32 * 2**20)
print(bounds.refusal(256 * 1024 * 1024))
"""


def test_memory_is_refused_beyond_the_bound_and_what_fits_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", HUNGRY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "0.2 GiB" in done.stdout and "trainer.max_memory_bytes" in done.stdout


@pytest.mark.parametrize(
    "said", ["std::bad_alloc", "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"]
)
def test_native_code_says_it_in_its_own_words(said: str) -> None:
    assert bounds.too_little(RuntimeError(said))
    assert not bounds.too_little(RuntimeError("shapes do not match"))


GREEDY = """
import sys
from trainer import job
job.execute = lambda lesson: {"size": len(bytearray(2**30))}
sys.argv = ["job", *sys.argv[1:]]
job.main()
"""


def test_a_lesson_beyond_its_memory_fails_and_says_what_to_do(tmp_path: Path) -> None:
    home = with_calls(tmp_path / "home", [("a", "b")], at=1000.0)
    folder = policies(tmp_path / "policies")
    (folder / "more.yaml").write_text(f"trainer: {{max_memory_bytes: {256 * MIB}}}\n")
    writer = open_writer(home)
    run: Run = writer.execute(EnqueueRun("train", "p", "triage", FINGERPRINT, {}, 1.0))
    writer.close()
    command = [sys.executable, "-c", GREEDY, run.id, "--home", str(home.root), "--policies", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False)
    (said,) = [decode(line) for line in done.stdout.splitlines()]
    assert isinstance(said, Failed) and "more memory than the 0.2 GiB" in said.error, done.stderr
    assert done.returncode == 0, "the worker hears it, marks the run as failed and goes on"
