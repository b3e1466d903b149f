"""A real redis-server for tests that share."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from free_ports import free_port


class RedisServer:
    """A real redis-server on a free port of loopback, to be stopped, killed and started again by a test."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary, self._folder = binary, folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self.process = subprocess.Popen(
            [self._binary, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(4000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        pytest.fail("redis-server did not start")

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)
            self.process = None


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    yield from _served(shutil.which("redis-server"), tmp_path, "redis-server is not installed")


@pytest.fixture
def redis_8(tmp_path: Path) -> Iterator[RedisServer]:
    """One with vector sets, which Redis has from version 8 on. Debian's is older, so the variable says where it is."""
    binary = os.environ.get("UNDERSTUDY_TEST_REDIS_8")
    yield from _served(binary, tmp_path, "UNDERSTUDY_TEST_REDIS_8 names no redis-server of version 8")


def _served(binary: str | None, tmp_path: Path, without: str) -> Iterator[RedisServer]:
    if binary is None:
        if os.environ.get("CI"):
            pytest.fail(f"{without}, and CI may skip nothing")
        pytest.skip(without)
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(binary, folder)
    server.start()
    yield server
    server.stop()
