"""A captured dataset as a file that can be trained from elsewhere: GET /v1/files/{task}@{version}/content."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec
from litestar.types import Receive, Scope, Send
from msgspec import Struct

from gateway import errors
from gateway.api.http import send_error
from gateway.storage.protocols import Reader
from gateway.storage.values import Dataset

_PIECE = 256 * 1024


class _Row(Struct, frozen=True):
    """What a row of a dataset's folder says, as far as it is given away."""

    part: str
    text: str
    answer: str
    weight: float = 1.0
    erased: str | None = None


class DatasetContent:
    """The training part as JSON lines in OpenAI's shape, masked as it is stored, in pieces as it is read."""

    def __init__(self, rows: Path) -> None:
        self._rows = rows

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id, lines = "req_" + secrets.token_hex(16), _lines(self._rows)
        try:
            piece = await asyncio.to_thread(next, lines, b"")
        except OSError:
            error = errors.NotFound("The rows of this dataset are gone.", param="id")
            await send_error(send, error, request_id, {})
            return
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-request-id", request_id.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while piece:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await asyncio.to_thread(next, lines, b"")
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def dataset_content(
    reader: Reader, datasets: Path, project: str, task: str, version: int
) -> DatasetContent:
    """Raises NotFound, for another project's dataset too."""
    found: list[Dataset] = await asyncio.to_thread(lambda: reader.datasets(task=task))
    mine = next((one for one in found if (one.project, one.version) == (project, version)), None)
    if mine is None:
        raise errors.NotFound(f"No such dataset: {task[:80]}@{version}", param="id")
    return DatasetContent(datasets / mine.digest / "rows.jsonl")


def _lines(path: Path) -> Iterator[bytes]:
    decode = msgspec.json.Decoder(_Row).decode
    held: list[bytes] = []
    size = 0
    with path.open("rb") as rows:
        for line in rows:
            row = decode(line)
            if row.part != "train" or row.weight <= 0 or row.erased is not None:
                continue
            turns = [{"role": "user", "content": row.text}, {"role": "assistant", "content": row.answer}]
            held.append(msgspec.json.encode({"messages": turns}) + b"\n")
            size += len(held[-1])
            if size >= _PIECE:
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)
