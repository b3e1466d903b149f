"""Times that another always overtakes: a warning with its line, since the policies work."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.policy.files import read

POLICIES = """
providers: {{claude: {{type: anthropic, api_key: sk-of-anthropic}}}}
{times}
"""


def told(folder: Path, times: str) -> list[str]:
    (folder / "gateway.yaml").write_text(POLICIES.format(times=times))
    return [str(one) for one in read(folder, {}).warnings]


@pytest.mark.parametrize("times", [
    "", "timeouts: {connect: 5, first_byte: 600, chunk_gap: 600, total: 600}", "timeouts: {total: 30}",
    "timeouts: {first_byte: 2}", "retries: {cap_s: 0.1}", "policies: [{name: a, hedge: {after_ms: 59999}}]",
    "policies: [{name: a, hedge: {}}]", "upstreams: {claude: {health: {url: 'http://127.0.0.1:9/', every_s: 2}}}",
])  # fmt: skip
def test_times_that_can_run_out_and_defaults_are_no_matter(tmp_path: Path, times: str) -> None:
    assert told(tmp_path, times) == []


@pytest.mark.parametrize(("times", "place", "said"), [
    ("timeouts: {first_byte: 900}", "timeouts.first_byte", "900 s are more than total (600 s)"),
    ("timeouts: {first_byte: 30, total: 20}", "timeouts.first_byte", "30 s are more than total (20 s)"),
    ("timeouts: {chunk_gap: 601}", "timeouts.chunk_gap", "601 s are more than total (600 s)"),
    ("timeouts: {connect: 90}", "timeouts.connect", "90 s are more than first_byte (60 s)"),
    ("timeouts: {connect: 40, total: 30}", "timeouts.connect", "40 s are more than total (30 s)"),
    ("retries: {base_s: 9}", "retries.base_s", "9 s are more than cap_s (8 s)"),
    ("upstreams: {claude: {health: {url: 'http://127.0.0.1:9/', timeout_s: 11}}}", "upstreams.claude.health.timeout_s",
     "so checks overlap"),
    ("policies: [{name: a, hedge: {after_ms: 60000}}]", "policies[0].hedge.after_ms", "no second is ever made"),
])  # fmt: skip
def test_a_time_that_never_runs_out_is_told_with_its_line(tmp_path: Path, times: str, place: str, said: str) -> None:
    (line,) = told(tmp_path, times)
    assert f"gateway.yaml:3: {place}: " in line and said in line
