"""Datasets: groups never leak between splits, curation counts what it does, versions are what they say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocol.fingerprint import group_of
from gateway.storage.values import TrainingCall
from trainer.datasets import curate
from trainer.datasets.split import PARTS, part_of
from trainer.datasets.versions import STALE_WEIGHT, DatasetRefused, assemble, read, write


def call(number: int, text: str = "", answer: str = "a", **changes: object) -> TrainingCall:
    text = text or f"ticket {'x' * number}"
    fields: dict[str, object] = {
        "call_id": f"chatcmpl-{number}", "created_at": float(number), "group": group_of(text), "key_id": "k",
        "end_user": "", "session": "", "text": text, "answer": answer, "finish_reason": "stop",
        "completion_tokens": 2, "metadata": {},
    }  # fmt: skip
    return TrainingCall(**(fields | changes))  # type: ignore[arg-type]


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=60), st.text(max_size=5))
@settings(max_examples=60, deadline=None)
def test_a_group_lies_in_one_part_whatever_the_dataset(texts: list[str], task: str) -> None:
    variants = [
        variant for text in texts for variant in (text, text.upper(), f" {text} ", text + " 1", text + " 22")
    ]
    calls = [call(number, text=text) for number, text in enumerate(variants)]
    rows = assemble(calls, project="p", task=task, fingerprint="f", run="r", masked=True).rows
    parts: dict[str, set[str]] = {}
    for row in rows:
        parts.setdefault(group_of(row.text), set()).add(row.part)
    assert all(len(found) == 1 for found in parts.values())


def test_the_split_has_the_stated_shares() -> None:
    parts = [part_of("p", "t", f"{number:x}") for number in range(20_000)]
    shares = [parts.count(part) / len(parts) for part in PARTS]
    assert shares == pytest.approx([0.60, 0.25, 0.15], abs=0.015)


def test_curation_counts_what_each_step_dropped() -> None:
    calls = [
        call(1, "the printer is on fire", "hardware"),
        call(2, "the printer is on fire", "hardware"),
        call(3, "The printer is on  fire", "network"),  # contradicts its group
        call(4, "no wifi", "network"),
        call(5, "cut off", "netw", finish_reason="length"),
        call(6, "empty", "  "),
        call(7, "bad answer", "other", metadata={"feedback.score": "0.3"}),
        call(8, "good answer", "other", metadata={"feedback.score": "9"}),
    ]
    kept, steps = curate.curate(calls)
    report = {step.name: (step.rows_in, step.rows_out, step.found) for step in steps}
    assert report["usable_answer"] == (8, 6, 2)
    assert report["feedback"] == (6, 5, 1)
    assert report["contradictions"] == (5, 4, 1)
    assert report["exact_duplicates"] == (4, 3, 1)
    assert [one.call_id for one in kept] == ["chatcmpl-2", "chatcmpl-4", "chatcmpl-8"]
    assert not any(step.in_force for step in steps if step.name.endswith("_cap"))


def test_clusters_of_the_same_words_are_capped() -> None:
    calls = [call(number, text=f"Help with order {number}!") for number in range(50)]
    kept, step = curate.clusters_capped(calls)
    assert (len(kept), step.found) == (curate.CLUSTER_CAP, 1)
    assert kept[-1] is calls[-1]


def test_one_user_among_many_is_capped() -> None:
    crowd = [call(number, end_user=f"user{number}") for number in range(200)]
    flood = [call(1000 + number, end_user="flooder") for number in range(100)]
    kept, step = curate.users_capped(crowd + flood)
    assert step.in_force
    assert sum(one.end_user == "flooder" for one in kept) == 6  # 2 % of 300


@pytest.mark.parametrize(
    ("given_score", "wanted"),
    [("0.8", 8), ("1", 10), ("8", 8), ("0", 0), ("nan", None), ("11", None), ("-1", None), ("good", None)],
)
def test_feedback_is_read_on_a_scale_of_ten(given_score: str, wanted: float | None) -> None:
    assert curate.feedback(call(1, metadata={"feedback.score": given_score})) == wanted


def test_a_version_is_named_by_its_rows_and_refused_when_they_change(tmp_path) -> None:
    calls = [call(number, answer=str(number % 3)) for number in range(1, 80)]
    version = assemble(calls, project="p", task="t", fingerprint="f", run="r1", masked=True)
    again = assemble(calls, project="p", task="t", fingerprint="f", run="r2", masked=True)
    assert version.digest == again.digest
    folder = write(version, tmp_path)
    assert write(version, tmp_path) == folder
    assert read(version.digest, tmp_path).rows == version.rows
    assert not any("chatcmpl" in row.call for row in version.rows)
    assert version.card["rows"]["train"] == len(version.part("train"))
    rows = folder / "rows.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b"ticket", b"tucket", 1))
    with pytest.raises(DatasetRefused):
        read(version.digest, tmp_path)


def test_after_drift_only_fresh_calls_calibrate() -> None:
    calls = [call(number) for number in range(1, 200)]
    version = assemble(calls, project="p", task="t", fingerprint="f", run="r", masked=True, fresh_since=100.0)
    everything = assemble(calls, project="p", task="t", fingerprint="f", run="r", masked=True)
    assert len(version.part("train")) == len(everything.part("train"))
    assert 0 < len(version.part("calibration")) < len(everything.part("calibration"))
    assert {row.weight for row in version.part("train")} == {1.0, STALE_WEIGHT}
