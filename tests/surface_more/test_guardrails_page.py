"""docs/guardrails.md: its worked example is taken from the page, checked, and spoken to over a real gateway."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from gateway_server import KEY, gateway, write_policies
from scripted import provider

from gateway.policy.files import PolicyError, load

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guardrails.md").read_text()


def example() -> tuple[str, list[tuple[str, str]]]:
    """The example's policies, and what is asked (``>``) with what comes of it (``<``)."""
    section = PAGE[PAGE.index("## A worked example") :]
    section = section[: section.index("\n## ", 4)]
    policies = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    asked = re.findall(r"^    > (.*)\n    < (.*)$", section, re.MULTILINE)
    assert len(policies) == 1 and len(asked) >= 4
    return policies[0], asked


async def test_the_worked_example_does_what_the_page_says(tmp_path: Path) -> None:
    safety, asked = example()
    async with provider() as upstream:
        policies = write_policies(tmp_path / "policies", {"first": upstream.url})
        (policies / "safety.yaml").write_text(safety)
        async with gateway(tmp_path, policies) as served, httpx.AsyncClient() as http:
            for said, becomes in asked:
                before = len(upstream.seen)
                answer = await http.post(
                    f"{served.base_url}/chat/completions",
                    json={"model": "triage", "messages": [{"role": "user", "content": said}]},
                    headers={"authorization": f"Bearer {KEY}"},
                )
                if becomes.startswith("400"):
                    assert answer.status_code == 400 and len(upstream.seen) == before
                    assert becomes.removeprefix("400 ") in answer.json()["error"]["message"]
                else:
                    assert answer.status_code == 200
                    assert becomes == f"the provider reads: {upstream.seen[-1].body['messages'][-1]['content']}"


def test_its_tests_pin_what_is_not_caught(tmp_path: Path) -> None:
    safety, _ = example()
    policies = write_policies(tmp_path / "policies", {"first": "http://127.0.0.1:9"})
    (policies / "safety.yaml").write_text(safety)
    assert load(policies, {}).guardrails
    pinned = "expect: allow}   # not caught"
    assert safety.count(pinned) >= 4
    (policies / "safety.yaml").write_text(safety.replace(pinned, "expect: block}   # not caught", 1))
    with pytest.raises(PolicyError, match="this test fails: expected block, got allow"):
        load(policies, {})


@pytest.mark.parametrize("kind", re.findall(r"^## ([a-z_]+)$", PAGE, re.MULTILINE))
def test_every_guard_says_what_it_does_not_catch(kind: str) -> None:
    section = PAGE[PAGE.index(f"## {kind}\n") :].split("\n## ", 1)[0]
    assert "**Not caught:**" in section


def test_the_table_of_clauses_names_tests_that_exist() -> None:
    section = PAGE[PAGE.index("## What is asked for, and where it is tried") :]
    named = set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", section))
    assert len(named) > 20
    for file, test in named:
        text = (ROOT / file).read_text()
        assert not test or f"def {test}(" in text, f"{file}::{test}"
