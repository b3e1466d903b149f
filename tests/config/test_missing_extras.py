"""What the policies ask for and is not installed is said when they are checked, with what to install."""

from __future__ import annotations

from pathlib import Path

import pytest
from policy_cases import GATEWAY, ROUTING

from gateway.policy import generative_checks
from gateway.policy.files import PolicyError, load

ENV = {"OPENAI_API_KEY": "sk-1"}
FOUR_BITS = ROUTING.replace(
    "target: 0.95", "recipes: [sft], generative: {base: m, adapt: qlora}, search: {trials: 3}"
)


@pytest.mark.parametrize(
    ("gateway", "routing", "line", "extra"),
    [
        ('cluster: {address: "10.0.0.5:6379"}\n', ROUTING, "cluster.address: a cluster needs the package ray", "ray"),
        ("engines: {transformers: {}}\n", FOUR_BITS, "generative.adapt: four bits need the package bitsandbytes", "qlora"),
        ("engines: {transformers: {}}\n", FOUR_BITS, "learn.search: a search needs the package scikit-optimize", "search"),
    ],
)  # fmt: skip
def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gateway: str, routing: str, line: str, extra: str
) -> None:
    (tmp_path / "gateway.yaml").write_text(GATEWAY + gateway, encoding="utf-8")
    (tmp_path / "routing.yaml").write_text(routing, encoding="utf-8")
    monkeypatch.setattr(generative_checks, "find_spec", lambda name: name)
    load(tmp_path, ENV)
    monkeypatch.setattr(generative_checks, "find_spec", lambda name: None)
    with pytest.raises(PolicyError) as caught:
        load(tmp_path, ENV)
    (told,) = [str(one) for one in caught.value.problems if line in str(one)]
    assert f"understudy[{extra}]" in told


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", "http://head:1"])
def test_an_address_is_a_host_and_a_port(tmp_path: Path, address: str) -> None:
    (tmp_path / "gateway.yaml").write_text(f'{GATEWAY}cluster: {{address: "{address}"}}\n', encoding="utf-8")
    (tmp_path / "routing.yaml").write_text(ROUTING, encoding="utf-8")
    with pytest.raises(PolicyError, match=r"cluster\.address"):
        load(tmp_path, ENV)
