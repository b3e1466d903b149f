"""A client that has always said a vendor's model name goes on saying it, whether or not the policies mention it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import errors
from gateway.policy.files import read
from gateway.runtime import Runtime, build_runtime
from gateway.stages.assign import resolve
from gateway.storage.values import Snapshot

OPENAI = "openai: {type: openai, api_key: sk-of-openai}"
CLAUDE = "claude: {type: anthropic, api_key: sk-of-anthropic}"


def runtime_of(tmp_path: Path, *providers: str, more: str = "") -> Runtime:
    (tmp_path / "gateway.yaml").write_text("providers:\n" + "".join(f"  {one}\n" for one in providers) + more)
    return build_runtime(read(tmp_path, {}).config, Snapshot(generation=0, keys=(), students=(), students_off=False))


def test_a_name_that_one_vendor_has_is_served_there(tmp_path: Path) -> None:
    runtime = runtime_of(tmp_path, OPENAI, CLAUDE)
    assert resolve(runtime, "gpt-4o-mini", "").name == "openai/gpt-4o-mini"
    assert resolve(runtime, "text-embedding-3-small", "").name == "openai/text-embedding-3-small"
    assert resolve(runtime, "claude-sonnet-4-5", "").name == "claude/claude-sonnet-4-5"
    with pytest.raises(errors.NotFound, match="called as 'provider/model'"):
        resolve(runtime, "gpt-of-nobody", "")


def test_of_two_that_have_it_the_client_names_one(tmp_path: Path) -> None:
    runtime = runtime_of(tmp_path, OPENAI, OPENAI.replace("openai:", "second:", 1))
    with pytest.raises(errors.BadRequest, match=r"Name one of: openai/gpt-4o, second/gpt-4o\."):
        resolve(runtime, "gpt-4o", "")


def test_the_policies_word_comes_first(tmp_path: Path) -> None:
    tasks = "tasks: [{name: desk, candidates: [{provider: second, model: gpt-4o}]}]\n"
    runtime = runtime_of(tmp_path, OPENAI, OPENAI.replace("openai:", "second:", 1), more=tasks)
    assert resolve(runtime, "gpt-4o", "").name == "second/gpt-4o"


@pytest.mark.parametrize("provider", [
    'mine: {type: openai, base_url: "http://127.0.0.1:9/v1", api_key: sk-of-mine}',  # nobody knows what answers there
    'off: {type: openai, api_key: "${NOT_SET}"}',
    "students: {type: classifier}",
])  # fmt: skip
def test_who_is_not_known_to_serve_it_is_not_asked(tmp_path: Path, provider: str) -> None:
    with pytest.raises(errors.NotFound):
        resolve(runtime_of(tmp_path, provider), "gpt-4o", "")
