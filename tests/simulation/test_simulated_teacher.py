from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import msgspec
import openai
import pytest
from free_ports import free_port

from benchmarks.simulation.answers import MODEL
from benchmarks.simulation.prompt import messages
from benchmarks.simulation.traffic import Progress

REFUND = messages("I was charged twice for May, please refund me $40.")


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    port = free_port()
    arguments = ["--port", str(port), "--seed", "3", "--compression", "20"]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.simulation.teacher", *arguments])
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(2000):
            try:
                httpx.get(f"{address}/healthz", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        assert process.wait(60) in (0, -15)


@pytest.fixture
async def client(origin: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{origin}/v1", api_key="any", max_retries=0) as client:
        yield client


async def test_a_whole_answer_is_one_label_and_says_simulated(client: openai.AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model=MODEL, messages=REFUND, temperature=0, extra_body={"unheard_of": {"x": 1}}
    )
    completion = raw.parse()
    assert completion.choices[0].message.content == "billing.refund"
    assert completion.choices[0].finish_reason == "stop"
    assert (raw.headers["x-simulated"], completion.system_fingerprint) == ("true", "simulated")
    usage = completion.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens > 250


async def test_the_shared_system_text_is_cached_from_the_second_call_on(client: openai.AsyncOpenAI) -> None:
    other = [{"role": "system", "content": "Label it. " * 50}, {"role": "user", "content": "It crashes."}]
    cached = []
    for _ in range(2):
        usage = (await client.chat.completions.create(model=MODEL, messages=other)).usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        cached.append(usage.prompt_tokens_details.cached_tokens)
    assert cached == [0, 64]


@pytest.mark.parametrize("include_usage", [True, False])
async def test_a_stream_assembles_to_the_same_label(client: openai.AsyncOpenAI, include_usage: bool) -> None:
    stream = await client.chat.completions.create(
        model=MODEL, messages=REFUND, stream=True, stream_options={"include_usage": include_usage}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == "billing.refund"
    assert len({one.id for one in chunks}) == 1
    assert stream.response.headers["x-simulated"] == "true"
    assert (chunks[-1].usage is not None) is include_usage
    assert all(one.usage is None for one in chunks[:-1])


async def test_models_are_listed_and_found(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == [MODEL]
    assert (await client.models.retrieve(MODEL)).owned_by == "simulated"


async def test_unknown_model_is_a_404_in_openais_shape(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="gpt-4o", messages=REFUND)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"model": 3, "messages": []}', 400),
        (b'{"model": "simulated-teacher-large", "messages": []}', 400),
        (b"\xff", 400),
        (
            b'{"model": "simulated-teacher-large", "n": 2, "messages": [{"role": "user", "content": "x"}]}',
            400,
        ),
    ],
)
def test_a_wrong_body_is_an_error_in_openais_shape(origin: str, body: bytes, status: int) -> None:
    answer = httpx.post(f"{origin}/v1/chat/completions", content=body, trust_env=False)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-simulated"] == "true"


def test_an_unknown_path_is_a_404(origin: str) -> None:
    assert httpx.get(f"{origin}/v1/embeddings", trust_env=False).status_code == 404


def test_its_behaviour_can_be_changed_and_changed_back(origin: str) -> None:
    url = f"{origin}/simulation/behaviour"

    def asked() -> str | None:
        with openai.OpenAI(base_url=f"{origin}/v1", api_key="any") as client:
            completion = client.chat.completions.create(model=MODEL, messages=REFUND)
        return completion.choices[0].message.content

    assert httpx.post(url, json={"behaviour": "drifted"}, trust_env=False).json()["behaviour"] == "drifted"
    assert asked() == "billing.invoice"
    assert httpx.post(url, json={"behaviour": "broken"}, trust_env=False).status_code == 400
    assert httpx.post(url, json={"behaviour": "normal"}, trust_env=False).status_code == 200
    assert asked() == "billing.refund"


def test_its_latency_is_a_real_teachers_divided_by_the_compression(origin: str) -> None:
    body = {"model": MODEL, "messages": REFUND}
    took = []
    with httpx.Client(trust_env=False) as http:
        for _ in range(25):
            began = time.monotonic()
            assert http.post(f"{origin}/v1/chat/completions", json=body).json()["choices"]
            took.append(time.monotonic() - began)
    assert 0.020 < statistics.median(took) < 0.120  # 650 ms / 20, on a machine that may be busy


def test_traffic_counts_answers_with_the_official_client(origin: str) -> None:
    command = [sys.executable, "-m", "benchmarks.simulation.traffic", "--base-url", f"{origin}/v1"]
    options = ["--key", "x", "--model", MODEL, "--calls", "60", "--concurrency", "8", "--seed", "5"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=True)
    last = msgspec.json.decode(done.stdout.splitlines()[-1], type=Progress)
    assert (last.answers, last.streamed, last.errors) == (60, 15, 0)
    assert last.p95_ms >= last.p50_ms > 0
