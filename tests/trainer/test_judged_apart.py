"""What a model is judged on must not be what it learnt (row 58): planted copies are found, by their hash or their words."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from migrated import migrated

from gateway.config import Config
from gateway.protocol.fine_tuning import KIND, Order
from gateway.protocol.fingerprint import group_of
from gateway.storage.commands import ClaimRun, EnqueueRun
from gateway.storage.data_values import AddFile, StoredFile
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.values import TrainingCall
from gateway.storage.writing.writers import open_writer
from trainer import tuning
from trainer.datasets.apart import known
from trainer.datasets.versions import assemble

LONG = "the delivery of order arrived two days late and the box was torn open at one corner please refund the postage"


def test_copies_are_found_and_others_are_not() -> None:
    learnt = ["Where is my parcel?", LONG, "reset the password"]
    judged = ["where  is my PARCEL?", LONG.replace("postage", "fee"), "Where is my invoice?", "reset the passwords",
              "my garden needs water every second evening while the neighbours are away on a long summer holiday"]  # fmt: skip
    assert known(judged, learnt) == [True, True, False, False, False]
    assert known([], learnt) == [] and known(judged, []) == [False] * 5


@pytest.mark.parametrize("crossfit", [False, True])
def test_no_held_out_call_of_a_task_has_a_twin_in_its_training_part(crossfit: bool) -> None:
    """Planted: each input three times, as it is, in another case and spacing, and with another number."""
    calls = [
        TrainingCall(
            call_id=f"c{number}-{kind}", created_at=float(number), group=group_of(text), key_id="k", end_user="",
            session="", text=text, answer="a", finish_reason="stop", completion_tokens=2, metadata={},
        )
        for number in range(200)
        for kind, text in enumerate(
            (f"ticket {'x' * number} of 12", f" TICKET {'X' * number}  of 12", f"ticket {'x' * number} of 7")
        )
    ]  # fmt: skip
    made = assemble(calls, project="p", task="t", fingerprint="f", run="r", masked=True, crossfit=crossfit)
    learnt = [row.text for row in made.part("train")]
    for part in ("calibration", "holdout"):
        rows = made.part(part)  # type: ignore[arg-type]
        assert rows or (crossfit and part == "calibration")
        assert not any(known([row.text for row in rows], learnt))
        assert not {group_of(row.text) for row in rows} & {group_of(text) for text in learnt}


_QUEUES = {"printer": "hardware", "wifi": "network", "invoice": "billing", "password": "access"}


def lines(count: int, seed: int) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    found = []
    for number in range(count):
        thing = rng.choice(list(_QUEUES))
        who = "".join(rng.choice("abcdefghijklmnop") for _ in range(6))
        found.append((f"{who}: the {thing} fails since {number}", _QUEUES[thing]))
    return found


class Desk:
    """A home with files, and jobs that are run in this process."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home").prepare()
        migrated(self.home)
        self.reader, self.writer = open_reader(self.home), open_writer(self.home)

    def file(self, name: str, rows: list[tuple[str, str]]) -> str:
        data = b"\n".join(
            json.dumps(
                {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": said}]}
            ).encode()
            for text, said in rows
        )
        self.home.files.mkdir(exist_ok=True)
        (self.home.files / name).write_bytes(data)
        file = StoredFile(
            id=name, project="p", key_id="k", filename="rows.jsonl", purpose="fine-tune", bytes=len(data),
            created_at=1.0, expires_at=None,
        )  # fmt: skip
        self.writer.execute(AddFile(file, 10**9))
        return name

    def run(self, training: str, validation: str) -> tuple[dict[str, float], list[str]]:
        """The metrics of a job and what it said. Raises CannotTune."""
        order = Order("classifier", training, "k", validation_file=validation, suffix="s")
        self.writer.execute(EnqueueRun(KIND, "p", "", "f" * 16, msgspec.to_builtins(order), time.time()))
        run, said = self.writer.execute(ClaimRun("w", time.time(), 10.0)), []
        assert run is not None

        def say(_: float, __: str, message: str = "", data: object = None) -> None:
            said.append(message)

        work = tuning.Workshop(run, order, Config(), self.home, self.reader, self.writer, say)
        return tuning.execute(work)["metrics"], said

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def test_planted_rows_of_an_uploaded_validation_file_are_not_judged_on(desk: Desk) -> None:
    learnt, fresh = lines(200, seed=1), lines(40, seed=2)
    learnt.append((LONG, "billing"))
    planted = [(text.upper(), answer) for text, answer in learnt[:15]] + [
        (LONG.replace("postage", "fee"), "billing")
    ]
    metrics, said = desk.run(desk.file("file-train", learnt), desk.file("file-valid", [*fresh, *planted]))
    assert (metrics["valid_rows"], metrics["valid_left_out"]) == (40.0, 16.0)
    assert any("16 validation rows" in one for one in said)


def test_a_validation_file_that_was_learnt_is_refused(desk: Desk) -> None:
    learnt = lines(200, seed=1)
    with pytest.raises(tuning.CannotTune) as caught:
        desk.run(desk.file("file-train", learnt), desk.file("file-valid", learnt[:50]))
    assert caught.value.detail == {"code": "invalid_validation_file", "param": "validation_file"}
