"""A Python without pip gets it from the index, and nothing else."""

from __future__ import annotations

import ensurepip
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "pip_alone.py"


@pytest.fixture(scope="module")
def alone() -> ModuleType:
    spec = spec_from_file_location("pip_alone", SCRIPT)
    assert spec is not None and spec.loader is not None
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A package index with the wheel that came with this Python: (its page of pip, its address)."""
    page = tmp_path / "index" / "pip" / "index.html"
    page.parent.mkdir(parents=True)
    (wheel,) = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*-py3-none-any.whl")
    (page.parent / wheel.name).write_bytes(wheel.read_bytes())
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    page.write_text(f'<!DOCTYPE html><a href="{wheel.name}#sha256={digest}">{wheel.name}</a><br/>')
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=tmp_path / "index"))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield page, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def run(folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    environment = {**os.environ, "PIP_INDEX_URL": url}
    return subprocess.run([python, SCRIPT], env=environment, capture_output=True, text=True, check=False)


def test_an_environment_without_pip_gets_it(tmp_path: Path, index: tuple[Path, str]) -> None:
    page, url = index
    told = run(tmp_path, url)
    assert told.returncode == 0, told.stderr
    pip = [tmp_path / "venv" / "bin" / "python", "-m", "pip", "--version"]
    assert "venv" in subprocess.run(pip, capture_output=True, text=True, check=True).stdout
    page.write_text(page.read_text().replace("sha256=", "sha256=" + "0" * 64)[:100] + "</a>")
    assert "lists no wheel of pip" in run(tmp_path, url).stderr


def test_another_wheel_than_the_index_tells_is_not_run(tmp_path: Path, index: tuple[Path, str]) -> None:
    page, url = index
    (wheel,) = page.parent.glob("*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    told = run(tmp_path, url)
    assert told.returncode == 1 and "is not what the index says it is" in told.stderr
    assert not list((tmp_path / "venv" / "lib").rglob("pip"))


def test_an_index_that_is_away_is_told_in_one_line(tmp_path: Path) -> None:
    told = run(tmp_path, "http://127.0.0.1:9")
    assert told.returncode == 1 and told.stderr.startswith("pip could not be fetched: ") and len(told.stderr.splitlines()) == 1


def test_the_newest_that_was_not_withdrawn(alone: ModuleType) -> None:
    def link(version: str, more: str = "", digest: str = "#sha256=" + "a" * 64) -> str:
        name = f"pip-{version}-py3-none-any.whl"
        return f'<a href="../../files/{name}{digest}"{more}>{name}</a>'

    page = "".join([link("9.0.3"), link("24.2"), link("24.10"), link("25.0", ' data-yanked=""'), link("26.0", digest="")])
    url, name, digest = alone.newest(page, "https://index.example/simple/pip/")
    assert (url, name) == (f"https://index.example/files/{name}", "pip-24.10-py3-none-any.whl") and digest == "a" * 64
    with pytest.raises(ValueError, match="no wheel"):
        alone.newest("<a>junk", "https://index.example/")


def test_the_index_is_the_one_that_pip_would_ask(alone: ModuleType, tmp_path: Path) -> None:
    assert alone.index_of({"PIP_INDEX_URL": "https://a.example/simple"}, tmp_path) == "https://a.example/simple/"
    folder = tmp_path / ".config" / "pip"
    folder.mkdir(parents=True)
    (folder / "pip.conf").write_text("[global]\nindex-url = https://b.example/50%25/simple/\n")
    assert alone.index_of({}, tmp_path) == "https://b.example/50%25/simple/"
    (folder / "pip.conf").write_text("junk")
    assert alone.index_of({}, tmp_path).startswith("http")
