"""Where memory is short calls come first: no lesson begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lesson_home import captured, policies, store_records

from gateway.policy import files as policy_files
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.writing.writers import open_writer
from trainer.certify import Issuer
from trainer.promoter import Promoter
from trainer.worker import Worker


def test_row_52_a_lesson_waits_until_memory_is_there(tmp_path: Path) -> None:
    home = Home((tmp_path / "home").resolve()).prepare()
    store_records(home, [captured(number, f"ticket {number}", "queue", at=1000.0 + number) for number in range(700)])
    reader, writer = open_reader(home), open_writer(home)
    promoter = Promoter(reader, writer, Issuer.of(home), home.root / "standings.json", lambda: 5000.0)
    started: list[str] = []
    share = 0.9

    def start(run: Any) -> Any:
        started.append(run.task)
        raise OSError("nothing is trained in this test")

    worker = Worker("w", reader, writer, promoter, start, lambda: 5000.0, memory=lambda: share)
    config = policy_files.load(policies(tmp_path / "policies"), {})
    for _ in range(3):
        worker.tick(config)
    assert started == [] and [run.state for run in reader.runs()] == ["queued"]
    share = 0.5
    worker.tick(config)
    assert len(started) == 1
    reader.close()
    writer.close()
