"""The benchmark behind docs/statistics.md still runs, in a very short form."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from benchmarks.statistics import drifts, promotions
from benchmarks.statistics import guarantees as benchmark
from benchmarks.statistics.rows import Row, table


@pytest.mark.parametrize("section", ["gate", "sessions", "cascade", "intervals", "multiplicity", "picked"])
def test_every_section_prints_its_rows(section: str, capsys: pytest.CaptureFixture[str]) -> None:
    table("title", getattr(benchmark, section)(np.random.default_rng(1), 50))
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "### title"
    assert all(line.count("|") == 6 for line in printed[2:] if line)
    assert len(printed) > 4


@pytest.mark.parametrize("section", [drifts.apart, drifts.rises])
def test_drift_is_simulated_too(section: Callable[..., Iterator[Row]]) -> None:
    rows = list(section(np.random.default_rng(1), 100))
    assert len(rows) >= 4


@pytest.mark.parametrize("section", ["discovery", "slices", "rare", "quality"])
def test_every_section_on_promotion_prints_its_rows(section: str, capsys: pytest.CaptureFixture[str]) -> None:
    table("title", getattr(promotions, section)(np.random.default_rng(1), 50))
    printed = capsys.readouterr().out.splitlines()
    assert all(line.count("|") == 6 for line in printed[2:] if line)
    assert len(printed) > 5


def test_its_fast_watch_is_the_real_watch() -> None:
    rows = benchmark.alarm_times(np.random.default_rng(2), 5, 0.5, 1000, 500)
    assert (rows < 500).all()
    agree = np.random.default_rng(3).random((3, 400)) < 0.8
    for row, after in zip(agree, benchmark.alarm_after(agree, 1000), strict=True):
        state = benchmark.start(benchmark.TARGET, benchmark.MARGIN, 1000)
        for one in row:
            state = benchmark.observe(state, bool(one))
        assert (state.alarm_n or 0) == after
