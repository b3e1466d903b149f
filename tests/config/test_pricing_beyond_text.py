"""What is billed apart from tokens of text: pictures, searches, faster and placed answers, and what a vendor says itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import KEY, gateway
from scripted import COMPLETION, Line, provider, sse

from gateway.config import Price
from gateway.money.pricing import cost, price_of
from gateway.protocol.chat import Usage, usage_from_wire
from gateway.providers import BedrockProvider, GeminiProvider, OpenAIProvider
from gateway.providers.anthropic.provider import usage_of as of_claude
from gateway.providers.codec import AttemptFailed
from gateway.providers.openai.vendor_answers import told_cost

GEMINI = GeminiProvider(api_key="k").build("p", "")
RESPONSES = OpenAIProvider(api_key="k", api="responses").build("p", "")


def decoded(codec: Any, data: dict[str, Any], headers: dict[str, str] | None = None, asked: dict[str, Any] | None = None) -> Any:
    return codec.decode(200, headers or {}, json.dumps(data).encode(), now=0, asked=asked or {})


def test_pictures_cost_their_own_rates() -> None:
    usage = usage_from_wire({
        "prompt_tokens": 1_000, "completion_tokens": 2_000, "prompt_tokens_details": {"image_tokens": 600, "text_tokens": 400},
        "completion_tokens_details": {"image_tokens": 1_500},
    })  # fmt: skip
    assert usage == Usage(prompt=1_000, completion=2_000, image_input=600, image_output=1_500)
    drawn = Price(input=5.0, output=10.0, image_output=40.0)
    assert cost(usage, drawn) == pytest.approx((1_000 * 5 + 500 * 10 + 1_500 * 40) / 1e6)
    both = Price(input=5.0, output=10.0, image_input=8.0, image_output=40.0)
    assert cost(usage, both) == pytest.approx((400 * 5 + 600 * 8 + 500 * 10 + 1_500 * 40) / 1e6)
    assert cost(usage, Price(input=5.0, output=10.0)) is None  # nobody knows what a picture costs
    assert cost(Usage(prompt=1_000, cached=500, image_input=600), both) is None  # nor how much of it was cached
    assert cost(Usage(prompt=1_000, cached=500, image_input=600), drawn) == pytest.approx(0.005)


def test_gemini_tells_pictures_searches_and_tiers() -> None:
    counted = {
        "promptTokenCount": 300, "candidatesTokenCount": 1_400, "thoughtsTokenCount": 100,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 42}, {"modality": "IMAGE", "tokenCount": 258}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1_290}], "trafficType": "ON_DEMAND_PRIORITY",
    }  # fmt: skip
    grounded = {"webSearchQueries": ["a", "b"], "groundingChunks": [{"maps": {"uri": "https://maps.example/x", "title": "X"}}],
                "groundingSupports": [{"segment": {"endIndex": 2}, "groundingChunkIndices": [0]}]}  # fmt: skip
    one = {"content": {"parts": [{"text": "ok"}]}, "finishReason": "STOP", "groundingMetadata": grounded}
    data = {"candidates": [one], "usageMetadata": counted, "modelVersion": "gemini-3.1-pro-preview"}
    answer = decoded(GEMINI, data)
    assert answer.usage == Usage(prompt=300, completion=1_500, reasoning=100, cached_audio=0, image_input=258, image_output=1_290,
                                 searches=2, tier="priority")  # fmt: skip
    assert answer.data["service_tier"] == "priority"
    assert answer.data["choices"][0]["message"]["annotations"][0]["url_citation"]["url"] == "https://maps.example/x"
    price = Price(input=2.0, output=12.0, image_output=120.0, search=14.0, tiers={"priority": 1.8})
    assert cost(answer.usage, price) == pytest.approx(1.8 * (300 * 2 + 210 * 12 + 1_290 * 120) / 1e6 + 0.028)
    assert decoded(GEMINI, {**data, "modelVersion": "gemini-2.5-pro"}).usage.searches == 1  # by the prompt, before Gemini 3
    stream = GEMINI.stream({"service_tier": "flex"})
    del counted["trafficType"]
    chunks = stream.feed(b"data: " + json.dumps(data).encode() + b"\n\n") + stream.finish()
    assert chunks[-1].usage is not None and (chunks[-1].usage.tier, chunks[-1].usage.searches) == ("flex", 2)
    headers = {"x-gemini-service-tier": "standard"}  # it was asked for more, and given less
    assert decoded(GEMINI, data, headers, {"service_tier": "priority"}).usage.tier == ""


def test_gemini_is_asked_for_a_tier_and_others_are_refused_one() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    for tier, sent in (("flex", "flex"), ("priority", "priority"), ("default", None), ("auto", None)):
        wire = json.loads(GEMINI.encode({**body, "service_tier": tier}, "gemini-3-flash", stream=False).body)
        assert wire.get("serviceTier") == sent and "service_tier" not in wire
    with pytest.raises(AttemptFailed) as caught:
        GEMINI.encode({**body, "service_tier": "scale"}, "gemini-3-flash", stream=False)
    assert caught.value.error.param == "service_tier"


def test_claude_is_dearer_when_it_is_fast_or_in_one_place_and_searches_cost_apart() -> None:
    told = {"input_tokens": 1_000, "output_tokens": 100, "server_tool_use": {"web_search_requests": 3}, "speed": "fast",
            "inference_geo": "us", "service_tier": "standard"}  # fmt: skip
    usage = of_claude(told)
    assert usage == Usage(prompt=1_000, completion=100, searches=3, tier="fast+us")
    price = price_of({}, "mine", "anthropic", "claude-opus-5")
    assert cost(usage, price) == pytest.approx(2.0 * 1.1 * (1_000 * 5 + 100 * 25) / 1e6 + 3 * 0.01)
    plain = of_claude({**told, "speed": "standard", "inference_geo": "global", "server_tool_use": None})
    assert cost(plain, price) == pytest.approx((1_000 * 5 + 100 * 25) / 1e6)
    assert cost(of_claude({**told, "service_tier": "priority"}), price) is None  # bought in advance: nobody here knows
    assert cost(usage, Price(input=5.0, output=25.0, tiers={"fast": 2.0, "us": 1.1})) is None  # what does a search cost?


def test_what_openais_own_tools_did_is_told_and_paid() -> None:
    picture = {"type": "image_generation_call", "id": "ig", "result": "AAAA", "output_format": "webp", "status": "completed"}
    search = {"type": "web_search_call", "id": "ws", "status": "completed"}
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok", "annotations": []}]}
    output = [search, search, picture, message]
    usage = {"input_tokens": 1_000, "output_tokens": 100, "total_tokens": 1_100}
    whole = {"id": "resp_1", "status": "completed", "model": "gpt-5", "output": output, "usage": usage}
    answer = decoded(RESPONSES, whole)
    images = [{"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAAA"}}]
    assert answer.data["choices"][0]["message"]["images"] == images and answer.usage.searches == 2
    price = price_of({}, "mine", "openai", "gpt-6-sol")
    assert cost(answer.usage, price) is None, "nobody says what the picture took"
    searched = decoded(RESPONSES, {**whole, "output": [search, search, message]}).usage
    assert cost(searched, price) == pytest.approx((1_000 * 2 + 100 * 10) / 1e6 + 2 * 0.01)
    events = [{"type": "response.created", "response": {"id": "resp_1", "model": "gpt-5"}},
              *({"type": "response.output_item.done", "output_index": at, "item": one} for at, one in enumerate(output)),
              {"type": "response.completed", "response": {**whole, "output": []}}]  # fmt: skip
    raw = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in events)
    stream = RESPONSES.stream()
    chunks = [chunk for at in range(len(raw)) for chunk in stream.feed(raw[at : at + 1])] + stream.finish()
    assert chunks[-1].usage == answer.usage
    assert [one for chunk in chunks for part in chunk.data["choices"] for one in part["delta"].get("images", ())] == images


def test_bedrock_tells_tiers_and_what_is_kept_for_an_hour() -> None:
    usage = {"inputTokens": 100, "outputTokens": 10, "cacheReadInputTokens": 0, "cacheWriteInputTokens": 50,
             "cacheDetails": [{"ttl": "1h", "inputTokens": 30}]}  # fmt: skip
    data = {"output": {"message": {"role": "assistant", "content": [{"text": "ok"}]}}, "stopReason": "end_turn", "usage": usage,
            "serviceTier": {"type": "flex"}}  # fmt: skip
    found = decoded(BedrockProvider(api_key="k").build("p", ""), data).usage
    price = Price(input=3.0, output=15.0, cache_write=3.75, cache_write_1h=6.0, tiers={"flex": 0.5})
    assert cost(found, price) == pytest.approx(0.5 * (100 * 3 + 20 * 3.75 + 30 * 6 + 10 * 15) / 1e6)


@pytest.mark.parametrize(
    ("usage", "usd"),
    [({"cost": 0.0125}, 0.0125), ({"cost": 0}, 0.0), ({"cost": {"input_tokens_cost": 0.1, "total_cost": 0.006}}, 0.006),
     ({"cost": 0.0005, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.01}}, 0.0105), ({"cost": 0.0005, "is_byok": True}, None),
     ({}, None), ({"cost": "1"}, None), ({"cost": -1}, None), ({"cost": True}, None), ({"cost": None}, None), (None, None)],
)  # fmt: skip
def test_what_a_vendor_says_that_a_call_costs(usage: Any, usd: float | None) -> None:
    assert told_cost(usage) == (None if usd is None else pytest.approx(usd))


POLICIES = """
providers:
  router: {{type: openai, profile: openrouter, base_url: "{url}", api_key: sk-up}}
  sonar: {{type: openai, profile: perplexity, base_url: "{url}", api_key: sk-up}}
  own: {{type: openai, base_url: "{url}", api_key: sk-up}}
prices: {{router: {{priced: {{input: 1000.0, output: 0.0}}}}}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
"""


@pytest.fixture
async def paid(tmp_path: Path) -> AsyncIterator[Any]:
    """(model, streamed) → the cost that a client is told, and the one that is recorded."""
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0.25}
    last = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
    chunk = {**last, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
    chunk.pop("usage")

    async def speak(line: Line) -> None:
        if line.seen.body.get("stream"):
            await line.stream(sse([chunk, last]))
        else:
            await line.answer(200, {**COMPLETION, "usage": usage})

    folder = tmp_path / "policies"
    folder.mkdir()
    async with provider() as upstream:
        upstream.behave = speak
        (folder / "gateway.yaml").write_text(POLICIES.format(url=upstream.url, key=KEY))
        async with gateway(tmp_path, folder) as served, httpx.AsyncClient(base_url=served.base_url, timeout=60) as http:

            async def ask(model: str, *, stream: bool) -> float | None:
                body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
                await http.post("/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})
                return served.records()[-1].cost_usd  # type: ignore[no-any-return,union-attr]

            yield ask


@pytest.mark.parametrize("stream", [False, True])
async def test_a_vendors_word_counts_where_nobody_knows_a_price(paid: Any, stream: bool) -> None:
    assert await paid("router/anything", stream=stream) == pytest.approx(0.25)
    assert await paid("sonar/sonar", stream=stream) == pytest.approx(0.25)
    assert await paid("router/priced", stream=stream) == pytest.approx(0.01)
    assert await paid("own/m", stream=stream) is None
