"""A whole gateway with its trainer and its engine: every process, real sockets, the unmodified ``openai`` client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from gateway_server import Gateway, gateway
from tuning_parts import policies


@pytest.fixture
def root() -> Iterator[Path]:
    """Short enough for a unix socket's name."""
    with tempfile.TemporaryDirectory(prefix="us-") as folder:
        yield Path(folder).resolve()


@pytest.fixture
async def served(root: Path) -> AsyncIterator[Gateway]:
    async with gateway(root, policies(root / "policies")) as made:
        yield made


@pytest.fixture
def processes(served: Gateway, processes_of: Callable[..., object]) -> Callable[..., object]:
    """Starts ``trainer.worker`` or ``trainer.engines.classifier`` for the served home."""
    return partial(processes_of, served)


@pytest.fixture
def processes_of() -> Callable[..., object]:
    """The same for a home that a test serves itself."""

    @contextmanager
    def start(served: Gateway, *modules: str) -> Iterator[list[subprocess.Popen[bytes]]]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
        made = []
        for module in modules:
            command = [sys.executable, "-m", module, "--home", str(served.home.root)]
            if module == "trainer.worker":
                command += ["--policies", str(served.policies), "--stale-s", "1"]
            made.append(subprocess.Popen(command, env=kept, stderr=subprocess.DEVNULL))
        try:
            yield made
        finally:
            for process in made:
                process.terminate()
            for process in made:
                process.wait(60)

    return start


@pytest.fixture
def jsonl() -> Callable[[list[tuple[str, str]]], bytes]:
    def write(pairs: list[tuple[str, str]]) -> bytes:
        rows = (
            {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]}
            for text, answer in pairs
        )
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    return write
