"""The measures of docs/reliability.md run, and say something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.targets.__main__ import MEASURES, main
from benchmarks.targets.house import percentile

ROOT = Path(__file__).resolve().parents[2]


def test_one_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["full_outage", "--scale", "0.01", "--json"]) == 0
    told = capsys.readouterr()
    assert '"answers that were no error": 0' in told.out
    found = re.search(r'"asked per request": ([\d.]+)', told.out)
    assert found is not None and 0 < float(found.group(1)) <= 1.1


def test_what_does_not_exist_is_refused() -> None:
    for words in (["nothing"], ["database_away"]):
        with pytest.raises(SystemExit):
            main(words)


def test_the_page_names_measures_and_tests_that_exist() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text().split("## Targets")[1].split("\n## ")[0]
    named = re.findall(r"`benchmarks\.targets (\w+)", page)
    assert set(named) - {"database_away"} == set(MEASURES), "each measure stands in the table"
    tests = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert len(tests) > 10
    for path, name in tests:
        file = ROOT / path
        assert file.exists() and (not name or f"def {name}(" in file.read_text()), (path, name)


def test_the_table_of_faults_has_every_row_with_tests_that_exist() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text().split("\nA seed is a script")[0]
    rows = re.findall(r"^\| (\d[\d–, ]*) \|.*\| ([^|]*) \|$", page, re.MULTILINE)
    texts = {path: path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    covered: set[int] = set()
    for numbers, told in rows:
        for part in numbers.split(", "):
            first, _, last = part.partition("–")
            covered |= set(range(int(first), int(last or first) + 1))
        for name in re.findall(r"`(test_\w+)\*`", told):
            assert any(f"def {name}" in text for text in texts.values()), (numbers, name)
        for file in re.findall(r"`((?:tests/)?[\w/]*test_\w+\.py)`", told):
            assert any(str(path).endswith(f"/{file}") for path in texts), (numbers, file)
        assert "`" in told, numbers
    assert covered == set(range(1, 65))


def test_the_nearest_rank() -> None:
    assert percentile([0.001 * n for n in range(1, 101)], 0.99) == 100.0
    assert percentile([], 0.5) == 0.0
