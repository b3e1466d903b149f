"""Text of PDF and Office documents, taken out by a process of its own that may not hurt this one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

from gateway.config.serving import VectorStores
from gateway.retrieval.reading import NotRead
from gateway.texts.media import document_in

_PROGRAM = Path(__file__).with_name("extracting.py")
_PACKAGES = {"PDF": ("pypdf",), "Office document": ("docx", "pptx", "openpyxl")}
_LONGER_S = 30.0
"""How much longer than its CPU time it may take: the machine may be busy."""
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
INSTALL = "pip install 'understudy[documents]'"


def document_kind(path: Path) -> str:
    """"PDF", "Office document" (any zip file) or "". Raises FileNotFoundError. Blocking."""
    with path.open("rb") as source:
        kind = document_in(source.read(1024))
    return kind if kind in _PACKAGES else ""


def missing() -> list[str]:
    """What has to be installed before every kind of document is read."""
    return [name for names in _PACKAGES.values() for name in names if find_spec(name) is None]


async def document_text(source: Path | bytes, kind: str, bounds: VectorStores) -> str:
    """What the file at a path says, or these bytes do. Raises NotRead."""
    if not all(find_spec(one) for one in _PACKAGES[kind]):
        message = f"The file is a {kind}, which this gateway reads once its operator has run {INSTALL}."
        raise NotRead("unsupported_file", message, lasting=False)
    given = source if isinstance(source, bytes) else None
    path = "-" if given is not None else str(source)
    numbers = (bounds.file_bytes, bounds.read_mb, bounds.read_s, bounds.pages)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(_PROGRAM), path, *map(str, numbers),
        stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
        env=_ENVIRONMENT, cwd="/",
    )  # fmt: skip
    try:
        async with asyncio.timeout(4 * bounds.read_s + _LONGER_S):
            said, _ = await process.communicate(given)
    except TimeoutError:
        raise _slow(bounds, lasting=False) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise _problem(process.returncode, kind, bounds)
    text = said.decode("utf-8", "replace")
    if not text.strip():
        raise NotRead("invalid_file", f"The {kind} holds no text; pictures of text are not read.")
    return text


def _problem(status: int, kind: str, bounds: VectorStores) -> NotRead:
    from gateway.retrieval import extracting  # what it loads, only its own process needs

    if status == extracting.LOCKED:
        return NotRead("invalid_file", f"The {kind} needs a password.")
    if status == extracting.TOO_LARGE:
        message = (
            f"The {kind} has more than {bounds.pages} pages or {bounds.file_bytes} characters, or unpacks to more than "
            "is taken in here."
        )
        return NotRead("invalid_file", message)
    if status == extracting.UNKNOWN:
        return NotRead("unsupported_file", "The file is no text, PDF, docx, pptx or xlsx. Upload its text.")
    if status == -signal.SIGXCPU:
        return _slow(bounds, lasting=True)
    if status == -signal.SIGKILL:  # by the bound of time, or by whoever was short of memory
        return _slow(bounds, lasting=False)
    return NotRead("invalid_file", f"The {kind} cannot be read: it is damaged, or needs more memory than it may take.")


def _slow(bounds: VectorStores, *, lasting: bool) -> NotRead:
    message = f"The file takes longer to read than is spent here ({bounds.read_s} s of work)."
    return NotRead("invalid_file", message, lasting=lasting)
