"""What was asked for synthetic calls, over both databases: sums that a restart and another worker go by."""

from __future__ import annotations

from typing import Any

import pytest
from storage_samples import Room, call, text

from gateway.storage.records import FOREIGN, SYNTHETIC, CallRecord


def made(call_id: str, **changes: Any) -> CallRecord:
    source = changes.pop("source", "synthetic:a")
    mine = {"key_id": SYNTHETIC, "arm": FOREIGN, "source": source, "reason": source, "provider": "big"}
    return call(call_id, **{**mine, **changes})


def test_questions_are_counted_by_part_and_paid_by_the_day(room: Room) -> None:
    own = call("own", at=1000.0, body=text("q", "a"))
    room.add(
        own,
        made("written", at=1001.0, cost_usd=0.5, fingerprint=""),
        made("kept", at=1002.0, cost_usd=0.25, body=text("made up", "a")),
        made("other", at=1003.0, cost_usd=None, fingerprint="", source="synthetic:b"),
        made("yesterday", at=10.0, cost_usd=8.0, body=text("older", "a")),
        made("theirs", at=1004.0, cost_usd=9.0, project="elsewhere", body=text("theirs", "a")),
        call("imported", at=1005.0, key_id="import", arm=FOREIGN, source="import:x:1", body=text("im", "a")),
    )
    found = room.reader.synthetic_calls(own.project, own.task, since=1000.0)
    assert (found.kept, found.tried) == (2, {"synthetic:a": 3, "synthetic:b": 1})
    assert (found.today, found.usd, found.unpriced) == (3, 0.75, 1)
    nothing = room.reader.synthetic_calls(own.project, "another", since=0.0)
    assert (nothing.kept, nothing.tried, nothing.today, nothing.usd) == (0, {}, 0, 0.0)


def test_they_are_costs_of_learning_and_no_calls(room: Room) -> None:
    own = call("own", at=1000.0, body=text("q", "a"))
    room.add(own, made("kept", at=1001.0, cost_usd=0.25, body=text("made up", "a")))
    room.add(made("kept", at=1001.0, cost_usd=0.25, body=text("made up", "a")))  # the same, read again
    (bucket,) = room.reader.ledger(since=0, bucket_s=60)
    assert (bucket.calls, bucket.unpriced) == (1, 0)
    assert bucket.extra_cost_usd == pytest.approx(0.25)
    (version,) = room.reader.task_versions()
    assert version.trainable_calls == 1
    seen = room.reader.watched_calls(own.project, own.task, own.fingerprint, after=0, limit=9)
    assert [one.id for one in seen] == ["own"]
