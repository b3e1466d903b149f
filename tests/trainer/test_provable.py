"""No training, and no forecast, for requests that no student could ever be proven on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from lesson_home import captured, policies, store_records

from gateway.policy import files as policy_files
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import CallRecord
from gateway.storage.writing.writers import open_writer
from optimizer.routing.eligibility import ineligible, unanswerable
from trainer.certify import Issuer
from trainer.promoter import Promoter
from trainer.worker import Worker

USER = {"role": "user", "content": "where is it?"}
TURNS = [USER, {"role": "assistant", "content": "Which one?"}, USER]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}


def calls(messages: list[dict[str, Any]], fingerprint: str, first: int) -> list[CallRecord]:
    found = []
    for number in range(first, first + 700):
        one = captured(number, f"ticket {number}", "queue", at=1000.0 + number)
        assert one.text is not None
        request = {"model": "triage", "messages": [*messages[:-1], {"role": "user", "content": f"ticket {number}"}]}
        text = msgspec.structs.replace(one.text, request=msgspec.json.encode(request))
        found.append(msgspec.structs.replace(one, fingerprint=fingerprint, text=text))
    return found


def test_a_version_of_several_turns_is_captured_and_never_trained(tmp_path: Path, caplog) -> None:
    home = Home((tmp_path / "home").resolve()).prepare()
    store_records(home, [*calls(TURNS, "a" * 16, 0), *calls([USER], "b" * 16, 1000)])
    reader, writer = open_reader(home), open_writer(home)
    promoter = Promoter(reader, writer, Issuer.of(home), home.root / "standings.json", lambda: 5000.0)
    started: list[str] = []

    def start(run: Any) -> Any:
        started.append(run.fingerprint)
        raise OSError("nothing is trained in this test")

    worker = Worker("w", reader, writer, promoter, start, lambda: 5000.0)
    config = policy_files.load(policies(tmp_path / "policies"), {})
    with caplog.at_level("INFO"):
        for _ in range(3):
            worker.tick(config)
    assert {one.fingerprint: one.trainable_calls for one in reader.task_versions()} == {"a" * 16: 700, "b" * 16: 700}
    assert {run.fingerprint for run in reader.runs()} == {"b" * 16} == set(started)
    assert sum("more than one turn" in line for line in caplog.messages) == 1  # said once, not at each look
    reader.close()
    writer.close()


@pytest.mark.parametrize(
    ("body", "never"),
    [
        ({"messages": [{"role": "system", "content": "s"}, USER]}, False),
        ({"messages": [USER], "logprobs": True, "stop": ["x"], "n": 3}, False),  # this one goes on; others may stay
        ({"messages": TURNS}, True),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, True),
        ({"messages": [USER, CALLED, {"role": "tool", "tool_call_id": "c", "content": "x"}]}, False),
        ({"messages": [USER], "functions": [{"name": "f"}]}, True),
        ({"messages": [USER], "tools": [{"type": "web_search"}]}, True),
        ({"messages": [USER], "tools": [{"type": "function", "function": {"name": "f"}}]}, False),
    ],
)
def test_what_can_never_be_answered_is_never_eligible(body: dict[str, Any], never: bool) -> None:
    assert bool(unanswerable(body)) is never
    assert not never or ineligible(body)
