"""Answers from elsewhere: how a file is written, what its rows say, and what becomes of them in a task."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec import structs

from gateway.importing.load import Loader, NoPlace, load_file, place_of
from gateway.importing.shapes import BadRow, Columns, columns_of, sample_of
from gateway.importing.tables import NotReadable, layout_of, lines_of
from gateway.policy.files import load
from gateway.protocol.fingerprint import group_of
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.writing.writers import open_writer
from trainer.datasets.versions import assemble

sys.path.append(str(Path(__file__).resolve().parents[1] / "trainer"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "storage"))
from lesson_home import FINGERPRINT, captured, policies, store_records
from storage_samples import environment


def row(text: str, answer: str, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": answer, **more}]}


def jsonl(*rows: object) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in rows)


# ---------------------------------------------------------------- how a file is written
@pytest.mark.parametrize(
    ("data", "form", "encoding", "separator"),
    [
        (b'{"text": "a", "label": "b"}\n', "jsonl", "utf-8", ""),
        (b'[{"text": "a", "label": "b"}]', "json", "utf-8", ""),
        (b"text,label\nhello,b\n", "csv", "utf-8", ","),
        ("text;label\ngrüße;b\n".encode("cp1252"), "csv", "cp1252", ";"),
        ("\ufefftext\tlabel\nhello\tb\n".encode(), "csv", "utf-8-sig", "\t"),
        ("text|label\nhello|b\n".encode("utf-16"), "csv", "utf-16", "|"),
        (gzip.compress(b"text,label\nhello,b\n", mtime=0), "csv", "utf-8", ","),
    ],
)
def test_form_encoding_and_separator_are_found(tmp_path, data, form, encoding, separator) -> None:
    path = tmp_path / "rows"
    path.write_bytes(data)
    layout = layout_of(path)
    assert (layout.form, layout.encoding, layout.separator) == (form, encoding, separator)
    (line,) = lines_of(path, layout)
    assert line.row is not None
    assert set(line.row) == {"text", "label"}


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"", "empty"), (b"\0\1\2", "binary"), (b"just words\n", "neither JSON nor"), (b"a,a\n1,2\n", "same name"),
     (b"\x1f\x8bnonsense", "gzip")],
)  # fmt: skip
def test_what_is_no_table_says_so(tmp_path, data, why) -> None:
    path = tmp_path / "rows"
    path.write_bytes(data)
    with pytest.raises(NotReadable, match=why):
        layout_of(path)


def test_lines_are_numbered_as_an_editor_does(tmp_path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'text,label\n"two\nlines",a\n\nshort\nlast,c\n')
    found = [(line.number, line.problem or (line.row or {})["label"]) for line in lines_of(path, layout_of(path))]
    assert found == [(2, "a"), (5, "it has 1 cells where the table has 2 columns"), (6, "c")]
    path.write_bytes(b'{"a": 1}\n{broken\n[1]\n')
    problems = [line.problem for line in lines_of(path, layout_of(path))]
    assert problems == ["", "it is not valid JSON", "it is not a JSON object"]


# ---------------------------------------------------------------- what rows say
@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([{"text": "a", "label": "b"}], Columns("text", "label")),
        ([{"label": "b", "customer_message": "a", "id": "7"}], Columns("customer_message", "label")),
        ([{"prompt": "a", "completion": "b"}], Columns("prompt", "completion")),
        ([{"x": "a long sentence it is", "y": "b"}], Columns("x", "y")),
        ([row("a", "b")], None),
    ],
)
def test_the_columns_that_matter_are_found(rows, wanted) -> None:
    assert columns_of(rows) == wanted


def test_where_nobody_can_tell_a_person_must() -> None:
    rows = [{"one": "a", "two": "b", "three": "c"}]
    with pytest.raises(BadRow, match="--input and --answer"):
        columns_of(rows)
    assert columns_of(rows, input="two", answer="three") == Columns("two", "three")
    with pytest.raises(BadRow, match="no column 'four'"):
        columns_of(rows, input="four")


CHOICES = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "b"}}]
ASKED = {"messages": [{"role": "user", "content": "a"}]}
PREFERENCE = {
    "input": ASKED,
    "preferred_output": [{"role": "assistant", "content": "b"}],
    "non_preferred_completion": [{"role": "assistant", "content": "c"}],
}


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (row("a", "b", weight=1), "chat"),
        (PREFERENCE, "preference"),
        ({"custom_id": "1", "response": {"status_code": 200, "body": {"choices": CHOICES}}}, "batch output"),
        ({"messages": ASKED["messages"], "choices": CHOICES, "metadata": {"n": "1"}}, "stored completion"),
        ({"request": ASKED, "response": {"choices": CHOICES}}, "logged call"),
    ],
)
def test_every_file_of_openai_is_understood(given, kind) -> None:
    sample = sample_of(given, None, {"1": ASKED})
    assert sample is not None
    assert (sample.kind, sample.message["content"], sample.request["messages"]) == (kind, "b", ASKED["messages"])
    assert sample.rejected == (("c",) if kind == "preference" else ())


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"custom_id": "1", "body": ASKED}, "--requests"),
        ({"custom_id": "9", "response": {"status_code": 200, "body": {"choices": CHOICES}}}, "--requests"),
        ({"custom_id": "1", "response": {"status_code": 500, "body": {}}}, "no answer"),
        ({"messages": [{"role": "user", "content": "a"}]}, "last message"),
        ({"messages": "a"}, "not a list"),
        (PREFERENCE | {"non_preferred_completion": PREFERENCE["preferred_output"]}, "the same"),
    ],
)
def test_a_row_that_says_nothing_says_why(given, why) -> None:
    with pytest.raises(BadRow, match=why):
        sample_of(given, None, {"1": ASKED})
    assert sample_of(row("a", "b", weight=0), None, {}) is None


# ---------------------------------------------------------------- what becomes of them
SYSTEM = {"role": "system", "content": "Name the queue."}


@pytest.fixture
def house(tmp_path):
    """A home with a task that learns, and thirty captured calls that share a system message."""
    home = Home((tmp_path / "home").resolve()).prepare()
    config = load(policies(tmp_path / "policies"), {})
    texts = [f"own ticket {'abcdefghij'[number % 10] * 5} {number}" for number in range(30)]
    store_records(home, [captured(number, text, "own", time.time()) for number, text in enumerate(texts)])
    reader, writer = open_reader(home), open_writer(home)
    yield home, config, reader, writer
    reader.close()
    writer.close()


def taken(house, data: bytes, **more):
    home, config, reader, writer = house
    path = home.root / "rows"
    path.write_bytes(data)
    loader = Loader(place_of(config, reader, "p", "triage"), reader, more.pop("write", writer.execute), time.time)
    return load_file(path, loader, name="import:rows", **more)


def test_a_table_becomes_captured_calls_of_the_tasks_own_shape_once(house) -> None:
    _, _, reader, _ = house
    data = b"text,label\nmail ann@example.com please,hardware\nthe vpn drops,network\nthe vpn drops,network\n,x\n"
    ledger = reader.ledger(since=0, bucket_s=60)
    dry = taken(house, data, write=None)
    assert (dry.new, dry.dry) == (2, True)
    report = taken(house, data)
    assert (report.read, report.new, report.repeated, report.bad) == (4, 2, 1, 1)
    assert report.problems == [(5, "its 'text' is empty")]
    assert report.preview[0] == ("mail [EMAIL_1] please", "hardware")
    again = taken(house, data)
    assert (again.new, again.known) == (0, 2)
    (version,) = reader.task_versions()
    assert version.trainable_calls == 30, "what was imported starts no training"
    mine = [one for one in reader.training_calls("p", "triage", version.fingerprint, limit=99) if one.source]
    assert len(mine) == 2
    assert (set(report.fingerprints), report.unknown) == ({FINGERPRINT}, set())
    assert all(one.source.startswith("import:rows:") for one in mine)
    assert reader.ledger(since=0, bucket_s=60) == ledger
    assert all(line.calls == 30 for line in reader.costs("task", since=0, until=time.time() + 9, limit=9))
    shown = reader.completions("p", model=None, metadata={}, after=None, limit=99, descending=True)
    assert any("[EMAIL_1]" in str(one.request) for one in shown)
    assert not any("ann@example.com" in str(one.request) for one in shown)


def test_a_preference_keeps_what_was_worse_masked(house) -> None:
    _, _, reader, _ = house
    pair = {
        "input": {"messages": [{"role": "user", "content": "write to ann@example.com"}]},
        "preferred_output": [{"role": "assistant", "content": "Dear ann@example.com"}],
        "non_preferred_output": [{"role": "assistant", "content": "Hey ann@example.com"}],
    }
    report = taken(house, jsonl(pair))
    (fingerprint,) = report.fingerprints
    (one,) = (call for call in reader.training_calls("p", "triage", fingerprint, limit=99) if call.source)
    assert (one.answer, one.rejected) == ("Dear [EMAIL_1]", ("Hey [EMAIL_1]",))


def test_imported_calls_teach_only_what_is_new_and_never_examine(house) -> None:
    _, _, reader, _ = house
    own = reader.training_calls("p", "triage", FINGERPRINT, limit=99)

    def foreign(number: int, text: str, source: str = "import:rows:1"):
        changes = {"call_id": f"f{number}", "text": text, "group": group_of(text), "source": source}
        return structs.replace(own[0], answer="theirs", key_id="import", **changes)

    planted = [foreign(number, call.text.upper() + "  9", "import:x") for number, call in enumerate(own)]
    new = [foreign(100 + number, f"foreign matter {'klmnopqrst'[number] * 4} here") for number in range(10)]
    made = [foreign(200, "a synthetic question about nothing else", "synthetic:1")]
    for crossfit in (False, True):
        version = assemble(
            [*own, *planted, *new, *made], project="p", task="triage", fingerprint=FINGERPRINT, run="r", masked=True,
            crossfit=crossfit,
        )  # fmt: skip
        strangers = [one for one in version.rows if one.foreign]
        assert {one.part for one in strangers} == {"train"}
        assert len(strangers) == 11
        assert not any(one.calibrates for one in strangers)
        assert not any(one.answer == "theirs" and "ticket" in one.text.casefold() for one in version.rows)
        (step,) = (one for one in version.card["steps"] if one["name"] == "from_elsewhere")
        assert (step["rows_in"], step["rows_out"], step["noted"]) == (41, 11, {"imported": 10, "synthetic": 1})


def test_a_task_that_does_not_learn_takes_nothing(house) -> None:
    _, config, reader, _ = house
    with pytest.raises(NoPlace, match="there is no task"):
        place_of(config, reader, "p", "nobody")


def test_the_command_tells_what_it_did(house, tmp_path) -> None:
    home, *_ = house
    path = tmp_path / "more.jsonl"
    path.write_bytes(jsonl({"text": "the fax hums", "answer": {"queue": "hardware"}}, {"text": ""}))
    command = [sys.executable, "-m", "gateway.cli", "import", str(path), "--task", "triage", "--project", "p"]
    command += ["--home", str(home.root), "--policies", str(tmp_path / "policies")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'text' was asked, 'answer' answered" in done.stdout
    assert 'the fax hums  →  {"queue":"hardware"}' in done.stdout
    assert "line 2: its 'text' is empty" in done.stdout
    path.write_bytes(b"nothing of use\n")
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "neither JSON nor a table" in done.stderr
