"""The catalog: every vendor's file is by the schema, dated and sourced, and an operator's word comes before it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
import yaml

from gateway.catalog import CatalogError, Traits, vendor, vendors
from gateway.catalog.reading import parsed
from gateway.policy.files import PolicyError, load
from gateway.providers import OpenAIProvider

FOLDER = Path(__file__).parents[2] / "gateway" / "catalog" / "vendors"
GOOD = """
dialect: openai
wire: {base_url: "https://api.example.com/v1", as_of: "2026-11-29", source: https://example.com/docs}
models:
  as_of: "2026-11-29"
  source: https://example.com/models
  models: {small: {context_window: 1000, max_output: 100, capabilities: [tools], also: [small-1]}}
prices:
  as_of: "2026-11-29"
  source: https://example.com/prices
  models: {small: {input: 1.0, cached_input: 0.1, output: 2.0}}
"""


@pytest.mark.parametrize("name", vendors())
def test_every_file_is_by_the_schema_dated_and_sourced(name: str) -> None:
    found = vendor(name)
    assert found is not None
    parts = [found.wire, found.thinking, found.models, found.prices]
    for part in (one for one in parts if one is not None):
        assert date.fromisoformat(part.as_of) <= date(2027, 1, 1) and part.source.startswith("https://")


@pytest.mark.parametrize("name", vendors())
def test_no_key_is_written_twice(name: str) -> None:
    """YAML keeps the last of two, in silence."""

    def walk(node: yaml.Node | None) -> None:
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), keys
        for child in node.value if node is not None and isinstance(node.value, list) else []:
            for one in child if isinstance(child, tuple) else (child,):
                walk(one)

    walk(yaml.compose((FOLDER / f"{name}.yaml").read_text()))


def test_every_file_is_a_vendor_and_nothing_else_lies_there() -> None:
    assert {one.name for one in FOLDER.iterdir()} == {f"{name}.yaml" for name in vendors()}
    assert vendor("../vendors/openai") is None and vendor("unheard-of") is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [('as_of: "2026-11-29", source', "source", "as_of"), ("2026-11-29", "last year", "as_of"),
     ("https://example.com/prices", "somebody told me", "source"), ("input: 1.0", "input: -1.0", "input"),
     ("input: 1.0", "inptu: 1.0", "inptu"), ("[tools]", "[tolos]", "tolos"), ("dialect: openai", "dialect: latin", "latin"),
     ("max_output: 100", "max_output: 2000", "more than its context holds"), ("[small-1]", "[small]", "twice"),
     ("cached_input: 0.1", "cached_input: 1.5", "from a cache"), ("https://api.example.com/v1", "", "base_url"),
     ("dialect: openai", "dialect: [", "")],
)  # fmt: skip
def test_what_is_not_by_the_schema_is_told_with_its_file(old: str, new: str, said: str) -> None:
    assert parsed("good", GOOD).models is not None
    with pytest.raises(CatalogError) as caught:
        parsed("good", GOOD.replace(old, new, 1))
    assert "catalog/vendors/good.yaml" in str(caught.value) and said in str(caught.value)


def test_traits_in_the_policies_come_before_the_vendors_file() -> None:
    body = {"messages": [{"role": "developer", "content": "hi"}], "max_completion_tokens": 5, "n": 2}
    own = Traits(most_choices=4, developer_role=True, renames={})
    plain = OpenAIProvider(profile="deepseek").build("mine", "")
    changed = OpenAIProvider(profile="deepseek", traits=own).build("mine", "")
    assert (plain.most_choices(), changed.most_choices()) == (1, 4)
    sent = json.loads(changed.encode(body, "m", stream=False).body)
    assert (sent["messages"][0]["role"], sent["max_completion_tokens"], sent["n"]) == ("developer", 5, 2)
    assert changed.enforces("m").schema == plain.enforces("m").schema == "json"


def test_traits_are_read_from_yaml_and_mistakes_have_a_place(tmp_path: Path) -> None:
    text = "providers:\n  mine: {{type: openai, base_url: 'https://api.example.com/v1', api_key: k, traits: {{{0}}}}}\n"
    main = tmp_path / "gateway.yaml"
    main.write_text(text.format("most_choices: 1, lacks: [logprobs]"))
    found = load(tmp_path, {}).providers["mine"]
    assert isinstance(found, OpenAIProvider) and found.traits == Traits(most_choices=1, lacks=["logprobs"])
    main.write_text(text.format("most_choice: 1"))
    with pytest.raises(PolicyError) as caught:
        load(tmp_path, {})
    assert "gateway.yaml:2" in str(caught.value) and "most_choices" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "believed"),
    [("", "strict"), ("https://api.openai.com/v1", "strict"), ("https://eu.api.openai.com/v1/", "strict"),
     ("https://mine.openai.azure.com/openai/v1", "strict"), ("https://azure.com/openai.azure.com", "guided"),
     ("http://127.0.0.1:8000/v1", "guided"), ("https://openai.com.example.org/v1", "guided"), ("https://myopenai.com/v1", "guided")],
)  # fmt: skip
def test_a_server_that_nothing_is_known_of_is_not_believed_to_keep_to_schemas(url: str, believed: str) -> None:
    found = OpenAIProvider(base_url=url).build("mine", "").enforces("m")
    assert (found.schema, found.json, found.tools) == (believed, believed, believed)
    told = OpenAIProvider(base_url=url, traits=Traits(structured="strict")).build("mine", "").enforces("m")
    assert told.schema == "strict"


NO_CHAT = {
    "openai": {"gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-1.5-2025-12-16", "gpt-realtime-2.1-mini",
               "gpt-4o-transcribe", "whisper-1", "gpt-4o-mini-realtime-preview", "gpt-4o-mini-realtime-preview-2024-12-17"},
}  # fmt: skip


@pytest.mark.parametrize("name", vendors())
def test_of_every_model_with_a_price_it_is_known_how_much_it_holds_and_what_it_can_do(name: str) -> None:
    """Constraints could not judge it otherwise. What is not asked to chat is no candidate."""
    found = vendor(name)
    assert found is not None
    priced = {one for key, price in (found.prices.models if found.prices else {}).items() for one in (key, *price.also)}
    listed = {one for key, model in (found.models.models if found.models else {}).items() for one in (key, *model.also)}
    assert {one for one in priced - listed - NO_CHAT.get(name, set()) if "embedding" not in one} == set()
