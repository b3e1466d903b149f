"""Clients' corrections as labels: which count, how they are written, and what a student is held against."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from lesson_home import FINGERPRINT, captured, policies, store_records, with_calls
from msgspec import structs

from gateway.protocol.called import ToolCall, calls_text
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import FeedbackRecord, MetadataRecord
from gateway.storage.values import TrainingCall
from optimizer.gates import Terms
from trainer.datasets.corrections import corrected
from trainer.datasets.versions import Version, assemble
from trainer.evaluate import examine
from trainer.preview import main as preview
from trainer.recipes import Example, train_first

_ANSWERS = {"invoice": "billing", "password": "access", "printer": "hardware"}


def call(number: int, answer: str = "billing", *, text: str = "", user: str = "", rated: bool = True) -> TrainingCall:
    return TrainingCall(
        call_id=f"c{number}", created_at=float(number), group=f"g{number}", key_id="k", end_user=user or f"u{number % 40}",
        session="", text=text or f"text {number}", answer=answer, finish_reason="stop", completion_tokens=3,
        metadata={"feedback.score": "0"} if rated else {}, votes=2, label=answer,
    )  # fmt: skip


def test_a_correction_is_the_answer_and_the_teachers_is_kept() -> None:
    calls = [call(number, rated=number < 3) for number in range(60)]
    found = corrected(calls, {"c1": "access", "c2": "Billing.", "c99": "x"})
    one, two = found.calls[1], found.calls[2]
    assert (one.answer, one.votes, one.metadata) == ("access", 0, {})
    assert two == calls[2]  # it says what the teacher said
    assert (found.teacher, found.disputed) == ({"c1": "billing"}, frozenset())
    assert (found.step.found, found.step.in_force) == (1, True)
    elsewhere = [structs.replace(one, source="import") for one in calls]
    assert corrected(elsewhere, {"c1": "access"}).calls == elsewhere


def test_of_few_callers_and_of_one_who_corrects_too_much_none_teaches() -> None:
    few = [call(number, user=f"u{number % 5}") for number in range(60)]
    found = corrected(few, {"c1": "access"})
    assert (found.calls, found.disputed) == (few, frozenset({"c1"}))
    many = [call(number) for number in range(400)]
    greedy = {f"c{number}": "access" for number in range(0, 400, 40)}  # ten calls of one user
    others = {f"c{number}": "access" for number in range(1, 11)}
    found = corrected(many, greedy | others)
    assert len(found.teacher) == 12 and len(found.disputed) == 8
    assert found.step.noted == {"that only count against an answer": 8}


@pytest.mark.parametrize(
    ("answer", "said", "label"),
    [
        ("access", "  BILLING ", "billing"),
        ("access", "something new", "something new"),
        ("access", "write to ann@example.com", ""),
        ("access", "write to [EMAIL_1]", ""),
        ('{"kind": "bug", "who": "Ann"}', '{"who":"Bob","kind":"bug","n":1}', '{"kind": "bug", "who": "Bob", "n": 1}'),
        (
            calls_text([ToolCall("track", '{"a":1,"b":{"c":2,"d":3}}')]),
            '[{"name": "track", "arguments": {"b": {"d": 4, "c": 2}, "a": 1}}]',
            calls_text([ToolCall("track", '{"a":1,"b":{"c":2,"d":4}}')]),
        ),
        (
            calls_text([ToolCall("track", '{"a":1,"c":2}')]),
            '[{"name": "cancel", "arguments": "{\\"b\\": 1}"}]',
            calls_text([ToolCall("cancel", '{"b":1}')]),
        ),
        (calls_text([ToolCall("track", "{}")]), "no call at all", "no call at all"),
    ],
)
def test_it_is_written_as_the_teacher_writes(answer: str, said: str, label: str) -> None:
    calls = [call(0, answer), *(call(number) for number in range(1, 60))]
    found = corrected(calls, {"c0": said})
    assert found.calls[0].answer == (label or answer)
    assert found.disputed == (frozenset() if label else {"c0"})


def _version(calls: list[TrainingCall], said: dict[str, str], *, crossfit: bool) -> Version:
    return assemble(
        calls, project="p", task="t", fingerprint="f", run="r", masked=True, crossfit=crossfit, corrections=said
    )


def _traffic(callers: int) -> tuple[list[TrainingCall], dict[str, str]]:
    """A teacher that takes passwords for billing at times, and clients who say so every time."""
    calls, said = [], {}
    for number in range(900):
        word = list(_ANSWERS)[number % 3]
        wrong = word == "password" and number % 9 == 1
        made = call(
            number, "billing" if wrong else _ANSWERS[word], user=f"u{number % callers}", rated=wrong,
            text=f"{'abcdefgh'[number % 8] * 3} the {word} {'fails again' if wrong else 'is slow'} q{number}",
        )  # fmt: skip
        calls.append(made)
        if wrong:
            said[made.call_id] = "access"
    return calls, said


@pytest.mark.parametrize("crossfit", [True, False])
def test_a_student_learns_them_and_is_held_against_them(crossfit: bool) -> None:
    terms = Terms(target=0.95, margin=0.02, alpha=0.05, delta=0.05)

    def agreement(callers: int) -> tuple[Version, float]:
        calls, said = _traffic(callers)
        version = _version(calls, said, crossfit=crossfit)
        examples = [
            Example(row.text, row.answer, row.tokens, row.weight, row.fold) for row in version.part("train")
        ]
        _, trained = train_first(["classifier"], examples, seed=1, tick=lambda _, __: None)
        exam = examine(trained, version, terms=terms, comparison="exact")
        agreed = [agree for _, agree in exam.evidence.calibration]
        return version, sum(agreed) / len(agreed)

    version, share = agreement(callers=100)
    assert share > 0.98
    taught = [row for row in version.rows if row.teacher]
    assert {(row.answer, row.teacher) for row in taught} == {("access", "billing")}
    assert all(row.rejected == ("billing",) for row in taught if row.part == "train" and row.weight)
    assert {row.part for row in taught} >= {"train", "holdout"}
    assert not any(row.disputed for row in version.rows)
    few, disputed = agreement(callers=5)
    assert not any(row.teacher for row in few.rows)
    assert 0.8 < disputed < 0.93  # one call in nine is nobody's point


def test_the_first_word_of_the_key_that_asked_reaches_the_lesson(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    home = with_calls(tmp_path / "home", [], at=1.0)
    calls = [
        structs.replace(captured(number, f"text {number} of {'abc'[number % 3]}", "a", 50.0 + number), end_user=f"u{number % 30}")
        for number in range(90)
    ]

    def says(number: int, text: str, actor: str = "k") -> FeedbackRecord:
        return FeedbackRecord(f"chatcmpl-{number}", "", "p", actor, 200.0, 0.0, {"correction": text})

    store_records(home, [
        *calls, says(1, "b"), says(1, "c"), says(2, "b", actor="another key"), says(3, "a"),
        MetadataRecord("chatcmpl-4", "p", "k", 200.0, {"feedback.correction": "b"}),
        FeedbackRecord("", "s", "p", "k", 200.0, 0.0, {"correction": "b"}),
    ])  # fmt: skip
    reader = open_reader(home)
    assert reader.corrections("p", "triage", FINGERPRINT) == {"chatcmpl-1": "b", "chatcmpl-3": "a", "chatcmpl-4": "b"}
    assert reader.corrections("p", "triage", "other") == {}
    reader.close()
    for learn, steps in ((", corrections: true", ["corrections"]), ("", [])):
        folder = policies(tmp_path / "policies", learn=learn)
        command = ["preview", "triage", "--home", str(home.root), "--policies", str(folder), "--json"]
        monkeypatch.setattr("sys.argv", command)
        preview()
        sys.stdout.flush()
        card = json.loads(capfdbinary.readouterr().out)
        assert [one["name"] for one in card["steps"] if one["name"] == "corrections"] == steps
        if steps:
            assert (card["steps"][0]["found"], card["steps"][0]["in_force"]) == (2, True)
