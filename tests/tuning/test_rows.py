"""Training files: what is a row, and what is said of a line that is none."""

from __future__ import annotations

import json

import pytest

from gateway.protocol.fine_tuning import BadRow, TuningRow, captured, job_id, model_name, rows_of, run_id


def chat(*turns: tuple[str, object], **more: object) -> bytes:
    return json.dumps(
        {"messages": [{"role": role, "content": text} for role, text in turns], **more}
    ).encode()


GOOD = chat(("user", "hi"), ("assistant", "yo"))


def test_rows_in_openais_shapes() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    silent = json.dumps({
        "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "weight": 0}]
    }).encode()  # fmt: skip
    lines = [*[GOOD] * 9, b"  ", chat(("user", parts), ("assistant", "c")), silent]
    found = list(rows_of(lines, "supervised"))
    assert len(found) == 10
    assert found[-1] == TuningRow("a\nb", "c")  # as it is read when it is served


@pytest.mark.parametrize("names", [("preferred_output", "non_preferred_output"), ("preferred_completion", "non_preferred_completion")])  # fmt: skip
def test_preferences_in_both_spellings(names) -> None:
    row = {
        "input": {"messages": [{"role": "user", "content": "q"}]},
        names[0]: [{"role": "assistant", "content": "better"}],
        names[1]: [{"role": "assistant", "content": "worse"}],
    }
    found = list(rows_of([json.dumps(row).encode()] * 10, "dpo"))
    assert found[0] == TuningRow("q", "better", ("worse",))
    with pytest.raises(BadRow, match="line 1: 'input'"):
        list(rows_of([GOOD] * 10, "dpo"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"\xff", "not valid JSON"),
        (b"[" * 5000, "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "'messages' must be a list"),
        (b'{"messages": [1]}', "objects with a 'role'"),
        (chat(("user", "x")), "must be the assistant's"),
        (chat(("assistant", "x")), "one user message"),
        (chat(("user", "x"), ("assistant", "")), "has no text"),
        (chat(("user", "x"), ("assistant", None)), "has no text"),
        (chat(("user", [{"type": "image_url"}]), ("assistant", "x")), "has no text"),
        (chat(("user", "x"), ("assistant", "y"), tools=[{}]), "list of functions"),
        (chat(("user", "x"), ("assistant", "y"), functions=[{}]), "write them as 'tools'"),
        (chat(("system", "other"), ("user", "x"), ("assistant", "y")), "share one system message"),
        (chat(("user", "x" * (1 << 20)), ("assistant", "y")), "longer than"),
    ],
)
def test_a_bad_line_is_named(line, message) -> None:
    with pytest.raises(BadRow, match=message) as problem:
        list(rows_of([GOOD, line, *[GOOD] * 10], "supervised"))
    assert str(problem.value).startswith("line 2: ")


def test_names() -> None:
    run = "run_" + "ab" * 16
    assert run_id(job_id(run)) == run
    assert run_id("ftjob-../../x") is None
    name = model_name("/models/tiny one/", "a b", "my: suffix/..", run)
    assert name == "ft:tiny-one:a-b:my-suffix-..:abababababab"
    assert captured("dataset:triage") == ("triage", None)
    assert captured("triage@3") == ("triage", 3)
    assert captured("file-1") is None
