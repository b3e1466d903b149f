"""Vendors that are data: profiles, capabilities and prices, and Azure's two addresses."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

import pytest

from gateway.catalog import vendor, vendors
from gateway.money.pricing import listed_prices
from gateway.providers import AzureProvider, OpenAIProvider
from gateway.providers.capabilities import abilities
from gateway.providers.openai.vendors import profile_of

LISTED = [
    "openai",
    "mistral",
    "groq",
    "together",
    "fireworks",
    "deepseek",
    "xai",
    "openrouter",
    "perplexity",
    "cerebras",
    "sambanova",
    "nvidia",
    "ollama",
    "vllm",
    "sglang",
    "llamacpp",
    "lmstudio",
]
BODY = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("name", LISTED)
def test_every_vendor_is_reached_at_its_own_address(name: str) -> None:
    sent = OpenAIProvider(api_key="k", profile=name).build(name, "").encode(BODY, "m", stream=False)
    address = urlsplit(sent.url)
    assert address.scheme == ("http" if address.hostname == "127.0.0.1" else "https")
    assert address.path.endswith("/chat/completions")
    assert sent.headers["authorization"] == "Bearer k"


def test_vendors_are_not_mixed_up() -> None:
    addresses = [profile.base_url for name in vendors() if (profile := profile_of(name)) is not None]
    assert len(set(addresses)) == len(addresses)


def test_azure_v1_names_the_deployment_in_the_body() -> None:
    for base in ("https://x.openai.azure.com", "https://x.openai.azure.com/openai/v1/"):
        sent = AzureProvider(base_url=base, api_key="k").build("azure", "").encode(BODY, "mine", stream=True)
        assert sent.url == "https://x.openai.azure.com/openai/v1/chat/completions"
        assert json.loads(sent.body)["model"] == "mine"
        assert json.loads(sent.body)["stream_options"] == {"include_usage": True}
        assert sent.headers["api-key"] == "k"


@pytest.mark.parametrize(
    ("dialect", "model", "thinking", "sampling", "structured"),
    [("anthropic", "claude-3-5-haiku-latest", "none", True, False), ("anthropic", "claude-3-7-sonnet-20250219", "budget", True, False),
     ("anthropic", "claude-sonnet-4-20250514", "budget", True, False), ("anthropic", "claude-opus-4-1-20250805", "budget", True, True),
     ("anthropic", "claude-haiku-4-5-20251001", "budget", True, True), ("anthropic", "claude-opus-4-6", "optional", True, True),
     ("anthropic", "claude-opus-4-8", "optional", False, True), ("anthropic", "claude-sonnet-5-5", "adaptive", False, True),
     ("anthropic", "claude-fable-5-1", "always", False, True),
     ("gemini", "gemini-2.0-flash", "none", True, True), ("gemini", "gemini-2.5-flash-lite", "budget", True, True),
     ("gemini", "gemini-3.1-pro-preview", "level", True, True)],
)  # fmt: skip
def test_what_models_can_do(
    dialect: str, model: str, thinking: str, sampling: bool, structured: bool
) -> None:
    found = abilities(dialect, [])(model)
    assert (found.thinking, found.sampling, found.structured) == (thinking, sampling, structured)


@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
def test_no_entry_hides_behind_an_earlier_one(dialect: str) -> None:
    known = vendor(dialect)
    assert known is not None and known.thinking is not None
    patterns = [one.match for one in known.thinking.models]
    for at, pattern in enumerate(patterns):
        example = pattern.replace("[78]", "7").replace("*", "zz")
        assert not any(fnmatchcase(example, earlier) for earlier in patterns[:at]), pattern
    assert patterns[-1] == "*"


@pytest.mark.parametrize("name", ["anthropic", "gemini"])
def test_prices_of_native_dialects_are_dated_and_sourced(name: str) -> None:
    for price in listed_prices(name).values():
        assert price.as_of and price.source.startswith("https://")
        if price.output:  # an embedding has neither
            assert 0 < (price.cached_input or price.input / 2) < price.input < price.output
