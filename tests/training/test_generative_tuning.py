"""Language models by a client's order: the operator's base, the client's numbers, supervised or by preference."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import pytest

from gateway.config import Config, FineTuning, Generative
from gateway.protocol.fine_tuning import KIND, Order
from gateway.storage.commands import ClaimRun, EnqueueRun
from gateway.storage.data_values import AddFile, StoredFile
from gateway.storage.home import Home
from gateway.storage.migrations import migrate
from gateway.storage.reading.reader import open_reader
from gateway.storage.writing.writers import open_writer
from trainer import tuning

_QUEUES = {"printer": "hardware", "wifi": "network", "invoice": "billing", "password": "access"}


def _line(method: str, number: int) -> bytes:
    thing, queue = list(_QUEUES.items())[number % 4]
    asked = [{"role": "user", "content": f"{thing} {number}"}]
    said = [{"role": "assistant", "content": queue}]
    if method == "supervised":
        return json.dumps({"messages": asked + said}).encode()
    worse = [{"role": "assistant", "content": "nothing"}]
    row = {"input": {"messages": asked}, "preferred_output": said, "non_preferred_output": worse}
    return json.dumps(row).encode()


@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_a_base_learns_from_a_file(torch, base, tmp_path: Path, method) -> None:
    home = Home(tmp_path / "home").prepare()
    migrate(home.database_url)
    reader, writer = open_reader(home), open_writer(home)
    file = StoredFile("file-" + "a" * 32, "p", "k", "rows.jsonl", "fine-tune", 1, time.time(), None)
    home.files.mkdir(exist_ok=True)
    (home.files / file.id).write_bytes(b"\n".join(_line(method, number) for number in range(80)))
    writer.execute(AddFile(file, 1 << 30))
    numbers = {"n_epochs": 1.0, "learning_rate_multiplier": 1.0}
    order = Order("tiny", file.id, "k", method=method, suffix="s", hyperparameters=numbers)
    writer.execute(EnqueueRun(KIND, "p", "", "f" * 16, msgspec.to_builtins(order), time.time()))
    run = writer.execute(ClaimRun("w", time.time(), 10.0))
    plan = Generative(base=str(base), adapt="full", epochs=9, batch_tokens=512, max_length=128)
    config = Config(fine_tuning=FineTuning(bases={"tiny": plan}))
    said: list[str] = []
    work = tuning.Workshop(
        run, order, config, home, reader, writer, lambda _, step, message="", data=None: said.append(message)
    )
    try:
        result = tuning.execute(work)
        assert result["recipe"] == ("sft" if method == "supervised" else "dpo")
        assert result["metrics"]["epochs"] == 1.0
        assert result["trained_tokens"] > 0
        (student,) = reader.students()
        assert student.id == result["fine_tuned_model"]
        assert student.id.startswith("ft:tiny:p:s:")
        assert tuning.execute(work)["artifact"] == result["artifact"], "a second attempt arrives at the same"
        assert sum("Training on" in one for one in said) == 1
        assert tuning.longest_s(config, run, 3600.0) == 24 * 3600.0
    finally:
        reader.close()
        writer.close()
