"""Datasets: groups never leak between splits, curation counts what it does, versions are what they say."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.learning import Curation, Language
from gateway.protocol.fingerprint import group_of
from gateway.storage.values import TrainingCall
from optimizer.languages import KNOWN, language
from trainer.datasets.curate import Chain, Step, curate, silent
from trainer.datasets.forms import form_of
from trainer.datasets.near import clusters
from trainer.datasets.quality import rated
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
    kept, steps = curate(calls)
    report = {step.name: (step.rows_in, step.rows_out, step.found) for step in steps}
    assert report["usable_answer"] == (8, 6, 2)
    assert report["quality"] == (6, 5, 1)
    assert report["contradictions"] == (5, 4, 1)
    assert report["exact_duplicates"] == (4, 3, 1)
    assert [one.call_id for one in kept] == ["chatcmpl-2", "chatcmpl-4", "chatcmpl-8"]
    assert not any(step.in_force for step in steps if step.name.endswith("_cap"))


def cure(calls: list[TrainingCall], valid=None, **rules: object) -> tuple[list[TrainingCall], dict[str, Step]]:
    kept, steps = curate(calls, Chain(rules=Curation(**rules), valid=valid))  # type: ignore[arg-type]
    return kept, {step.name: step for step in steps}


def test_clusters_of_near_identical_inputs_are_capped() -> None:
    words = ["please", "help", "me", "with", "my", "late", "parcel", "number", "seven", "again", "today"]
    calls = [call(number, text=f"{' '.join(words[number % 9 :] + words[: number % 9])} {number}!") for number in range(50)]
    calls += [call(100 + number, text=f"{' '.join(words)} {'xyz'[number % 3] * 3} {number}") for number in range(50)]
    calls += [call(200, text="something else entirely")]
    kept, steps = cure(calls)
    assert (len(kept), steps["near_duplicates"].found) == (21, 1)
    assert kept[-2:] == calls[-2:]
    assert len(cure(calls, cluster_cap=5)[0]) == 6


@given(st.lists(st.text(max_size=20), min_size=1, max_size=40))
@settings(max_examples=40, deadline=None)
def test_any_text_has_a_cluster_and_equal_texts_the_same(texts: list[str]) -> None:
    found = clusters([*texts, *texts], silent)
    assert list(found[: len(texts)]) == list(found[len(texts) :])


def test_one_user_among_many_is_capped() -> None:
    crowd = [call(number, end_user=f"user{number}") for number in range(200)]
    flood = [call(1000 + number, end_user="flooder") for number in range(100)]
    kept, steps = cure(crowd + flood)
    assert steps["end_user_cap"].in_force
    assert sum(one.end_user == "flooder" for one in kept) == 6  # 2 % of 300


@pytest.mark.parametrize(
    ("given_score", "wanted"),
    [("0.8", 8), ("1", 10), ("8", 8), ("0", 0), ("nan", None), ("11", None), ("-1", None), ("good", None)],
)
def test_feedback_is_read_on_a_scale_of_ten(given_score: str, wanted: float | None) -> None:
    assert rated(call(1, metadata={"feedback.score": given_score})) == wanted


def test_nobody_lifts_an_answer_and_the_unrated_are_counted() -> None:
    praise = {"feedback.score": "10"}
    calls = [
        call(1, metadata=praise | {"judge.score": "3"}),
        call(2, answer="lost \ufffd text", metadata=praise),
        call(3, answer="again and " * 60, metadata=praise),
        call(4, metadata={"judge.score": "9"}),
        call(5),
    ]
    kept, steps = cure(calls)
    assert [one.call_id for one in kept] == ["chatcmpl-4", "chatcmpl-5"]
    assert steps["quality"].noted == {"unrated": 1}
    assert len(cure(calls, least_quality=0)[0]) == 5


def test_contradictory_inputs_may_teach_nothing() -> None:
    calls = [call(1, "same", "a"), call(2, "Same", "b"), call(3, "same ", "b"), call(4, "other", "a")]
    assert [one.call_id for one in cure(calls)[0]] == ["chatcmpl-2", "chatcmpl-3", "chatcmpl-4"]
    kept, steps = cure(calls, contradictions="drop")
    assert [one.call_id for one in kept] == ["chatcmpl-4"]
    assert steps["contradictions"].found == 1


def test_inputs_in_another_language_are_left_out() -> None:
    said = {
        "en": "where is my parcel, it was not in the box",
        "de": "wo ist mein Paket, es ist nicht in der Box",
        "fr": "je ne sais pas dans quelle boîte est mon colis",
        "ru": "где моя посылка",
        "ja": "私の荷物はどこですか",
        "": "zzz qqq",
    }
    assert {code: language(text) for code, text in said.items()} == {code: code for code in said}
    kept, steps = cure([call(number, text) for number, text in enumerate(said.values())], languages=["en", "fr"])
    assert [one.text for one in kept] == [said["en"], said["fr"], said[""]]
    assert steps["language"].noted == {"cannot be told": 1}
    assert set(KNOWN) == set(get_args(Language))


def test_a_frequent_answer_is_thinned_out_only_where_answers_are_a_closed_set() -> None:
    names = [f"{first}{second}{third}" for first in "abcdefghij" for second in "klmnopqrst" for third in "uvwxyzabcd"]
    calls = [call(number, f"{names[number]} {names[-number]}", "often" if number > 60 else f"rare{number % 3}") for number in range(1000)]
    _, steps = cure(calls, balance=15)
    assert (steps["balance"].rows_out, steps["balance"].found) == (61 + 307, 1)  # the median of 940, 21, 20 and 20 is 20.5
    assert not cure([call(n, f"{names[n]} {names[-n]}", str(n)) for n in range(300)])[1]["balance"].in_force
    assert not cure(calls, balance=None)[1]["balance"].in_force


def test_answers_that_do_not_fit_the_schema_teach_nothing() -> None:
    schema = {"type": "object", "required": ["urgency"], "properties": {"urgency": {"enum": ["low", "high"]}}}
    request = {"response_format": {"type": "json_schema", "json_schema": {"name": "t", "schema": schema}}}
    answers = ['{"urgency": "low"}', '{"urgency": "none"}', "low", '{"urgency": "low"', '{"urgency": "[EMAIL_1]"}']
    calls = [call(number, answer=answer) for number, answer in enumerate(answers, 1)]
    kept, steps = cure(calls, form_of(request))
    assert [one.answer for one in kept] == [answers[0], answers[4]]
    assert steps["schema"].found == 3
    assert len(cure(calls, form_of({"response_format": {"type": "json_object"}}))[0]) == 3
    assert form_of({"response_format": {"type": "text"}}) is None
    tool = call(9, answer="", finish_reason="tool_calls")
    assert cure([*calls, tool])[1]["usable_answer"].noted == {"tool_calls": 1}


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
    assert "| near_duplicates |" in (folder / "card.md").read_text()
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
