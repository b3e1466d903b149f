"""A tagged set as an extraction task: each text and the JSON list of the entities in it.

    python -m benchmarks.replayed.entities wnut17_train.jsonl.gz > entities.jsonl

Rows in: ``text`` and ``entities`` (each with a ``type`` and a ``value``). Rows out: ``text`` and ``answer``.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from pathlib import Path
from typing import Any

import msgspec


def answered(row: dict[str, Any]) -> dict[str, Any]:
    found = [{"type": one["type"], "value": one["value"]} for one in row["entities"]]
    return {"text": row["text"], "answer": found}


def main() -> None:
    parser = argparse.ArgumentParser(description="Tagged texts as an extraction task, as JSONL.")
    parser.add_argument("dataset", type=Path)
    path = parser.parse_args().dataset
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for line in data.splitlines():
        sys.stdout.buffer.write(msgspec.json.encode(answered(msgspec.json.decode(line))) + b"\n")


if __name__ == "__main__":
    main()
