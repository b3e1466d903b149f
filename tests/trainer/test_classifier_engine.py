"""The engine over its real socket, with the stock ``openai`` client."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.storage.home import Home
from gateway.upstreams import http1
from trainer.artifacts.registry import store
from trainer.engines import asgi
from trainer.engines.vllm import ENVIRONMENT

STUDENT = "triage-abcd-v1"


@pytest.fixture(scope="module")
def engine(trained) -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="us-") as folder:
        home = Home(Path(folder).resolve()).prepare()
        store(home.artifacts / STUDENT, "classifier", trained, "d" * 64, 1)
        broken = home.artifacts / "broken-abcd-v1"
        store(broken, "classifier", trained, "d" * 64, 1)
        (broken / "vocabulary.json").write_bytes(b"{}")
        home.engine_socket.touch()  # what a killed engine leaves behind
        command = [sys.executable, "-m", "trainer.engines.classifier", "--home", folder]
        process = subprocess.Popen(command)
        try:
            _wait_until_up(home, process)
            yield home
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert not home.engine_socket.exists()
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def _wait_until_up(home: Home, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until and process.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(home.engine_socket)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the engine did not start")


def _client(home: Home) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(home.engine_socket))
    return httpx.Client(transport=transport, base_url="http://engine", timeout=60)


def _ask(text: str, **more: object) -> dict[str, object]:
    return {
        "model": STUDENT,
        "messages": [{"role": "system", "content": "printer"}, {"role": "user", "content": text}],
    } | more


def test_an_answer_is_whole_and_carries_its_probability(engine) -> None:
    with _client(engine) as client:
        answer = client.post("/v1/chat/completions", json=_ask("the vpn refuses me at desk 4"))
    assert answer.status_code == 200
    assert 0 <= float(answer.headers["x-understudy-cpu-ms"]) < 50
    choice = answer.json()["choices"][0]
    assert choice["message"]["content"] == '{"queue":"network"}'
    assert choice["finish_reason"] == "stop"
    (token,) = choice["logprobs"]["content"]
    assert token["token"] == '{"queue":"network"}'
    assert 0.5 < math.exp(token["logprob"]) <= 1
    assert sum(math.exp(one["logprob"]) for one in token["top_logprobs"]) == pytest.approx(1)
    assert answer.json()["usage"]["total_tokens"] > 0


def test_only_the_last_user_turn_is_read(engine) -> None:
    messages = [
        {"role": "user", "content": "the printer jams"},
        {"role": "assistant", "content": "hardware"},
        {"role": "user", "content": [{"type": "text", "text": "I was charged twice, invoice is wrong"}]},
    ]
    with _client(engine) as client:
        answer = client.post("/v1/chat/completions", json={"model": STUDENT, "messages": messages})
    assert answer.json()["choices"][0]["message"]["content"] == '{"queue":"billing"}'


async def test_concurrent_questions_get_their_own_answers(engine, make_tickets) -> None:
    asked = make_tickets(200, seed=5, noise=0)
    transport = httpx.AsyncHTTPTransport(
        uds=str(engine.engine_socket), limits=httpx.Limits(max_connections=64)
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=30) as client:
        answers = await asyncio.gather(
            *(client.post("/v1/chat/completions", json=_ask(text)) for text, _ in asked)
        )
    given = [answer.json()["choices"][0]["message"]["content"] for answer in answers]
    agreed = sum(one == wanted for one, (_, wanted) in zip(given, asked, strict=True))
    assert agreed >= 194


def test_the_stock_client_reads_whole_and_streamed_answers(engine) -> None:
    openai = pytest.importorskip("openai")
    http = pytest.importorskip("httpx2")  # the client library's own HTTP library
    transport = http.HTTPTransport(uds=str(engine.engine_socket))
    with http.Client(transport=transport) as http_client:
        client = openai.OpenAI(
            api_key="unused", base_url="http://engine/v1", http_client=http_client, max_retries=0
        )
        assert STUDENT in {model.id for model in client.models.list()}
        messages = [{"role": "user", "content": "my account is locked"}]
        whole = client.chat.completions.create(model=STUDENT, messages=messages)
        assert whole.choices[0].message.content == '{"queue":"access"}'
        chunks = list(
            client.chat.completions.create(
                model=STUDENT, messages=messages, stream=True, stream_options={"include_usage": True}
            )
        )
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == '{"queue":"access"}'
        assert chunks[-1].usage.total_tokens > 0
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="triage-ffff-v9", messages=messages)
        assert missing.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/chat/completions", b"{", 400, None),
        ("/v1/chat/completions", b'{"model":"../../etc","messages":[]}', 404, "model_not_found"),
        ("/v1/chat/completions", b'{"model":".hidden","messages":[]}', 404, "model_not_found"),
        ("/v1/chat/completions", b'{"model":"broken-abcd-v1","messages":[]}', 503, "artifact_refused"),
        ("/v1/chat/completions", b'{"model":"triage-abcd-v1","messages":[],"n":2}', 400, None),
        ("/v1/chat/completions", b'{"model":"triage-abcd-v1"}', 400, "missing_required_parameter"),
        ("/v1/students/load", b'{"student":"nobody"}', 404, "model_not_found"),
        ("/v1/students/load", b"{}", 400, "missing_required_parameter"),
        ("/v1/nothing", b"{}", 404, "not_found"),
    ],
)
def test_mistakes_get_errors_in_openais_shape(engine, path, body, status, code) -> None:
    with _client(engine) as client:
        answer = client.post(path, content=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert str(engine.root) not in answer.text


def test_students_come_and_go_without_a_restart(engine, trained) -> None:
    with _client(engine) as client:
        name = {"student": "late-abcd-v2"}
        assert client.post("/v1/students/load", json=name).status_code == 404
        store(engine.artifacts / "late-abcd-v2", "classifier", trained, "d" * 64, 1)
        assert client.post("/v1/students/load", json=name).json()["loaded"] is True
        loaded = client.get("/healthz").json()["students_loaded"]
        assert client.post("/v1/students/unload", json=name).json()["was_loaded"] is True
        assert client.get("/healthz").json()["students_loaded"] == loaded - 1
        assert client.post("/v1/students/unload", json=name).json()["was_loaded"] is False
        assert client.get("/v1/students/load").status_code == 405


def test_the_socket_belongs_to_its_owner_alone(engine) -> None:
    assert engine.engine_socket.stat().st_mode & 0o077 == 0


def test_a_single_call_is_quick(engine) -> None:
    with _client(engine) as client:
        spent = [
            float(
                client.post("/v1/chat/completions", json=_ask(f"wifi drops {n}")).headers[
                    "x-understudy-cpu-ms"
                ]
            )
            for n in range(30)
        ]
    assert sorted(spent)[15] < 5  # milliseconds; 0.2 on a quiet machine


def test_an_idle_connection_outlives_the_gateways_use_of_it() -> None:
    """The side that sends must be the one that closes: a question on a connection that the other side is just closing
    is lost, and a student's question is asked once."""
    assert asgi.IDLE_S > http1.IDLE_S
    assert ENVIRONMENT["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"] == str(asgi.IDLE_S)
