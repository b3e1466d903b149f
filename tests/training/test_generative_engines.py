"""A trained adapter serves through the gateway: over the transformers server, and over a real vLLM where there is one.

``UNDERSTUDY_TEST_VLLM`` names the interpreter of an environment with vLLM; without it that part skips.
"""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from scripted import Provider

from gateway.config import Generative
from gateway.processes.supervisor import answers_on
from gateway.protocol.chat import ChatRequest, Message
from gateway.protocol.fingerprint import fingerprint
from gateway.storage.commands import AddStudent, MoveStudent
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.migrations import migrate
from gateway.storage.records import CallRecord
from gateway.storage.writing.writer import SqlWriter
from optimizer.rollout import Stage, Student
from trainer.artifacts.predictor import answer
from trainer.artifacts.registry import store
from trainer.engines.vllm import command
from trainer.recipes import Example, Means, train_first

THINGS = {"printer": "hardware", "wifi": "network", "invoice": "billing", "password": "access"}
STUDENT = "sorting-abcd-v1"
VLLM = os.environ.get("UNDERSTUDY_TEST_VLLM", "")
SHAPE = fingerprint(ChatRequest(model="sorting", messages=[Message(role="user", content="x")]))
TASK = """  - name: sorting
    candidates: [{provider: first, model: m}]
    teacher: {provider: first, model: m, may_train_on_outputs: true}
    capture: {rate: 1.0}
    learn: {}
    watch: {reask_rate: 1.0e-12, max_p95_latency_ms: 60000}
"""
ENGINES = """timeouts: {connect: 30, first_byte: 120, chunk_gap: 120, total: 180}
engines:
  vllm: {base: BASE, python: /nowhere, usd_per_hour: 3.6}
  transformers: {usd_per_hour: 3.6}
"""


@pytest.fixture(scope="module")
def trained(torch, base):
    """A LoRA student of the tiny base, and its artifact under two names."""
    things = list(THINGS)
    examples = [
        Example(f"my {things[n % 4]} is broken {n}", THINGS[things[n % 4]], tokens=2) for n in range(80)
    ]
    plan = Generative(base=str(base), rank=8, epochs=6, learning_rate=1e-2, batch_tokens=512, max_length=128)
    with tempfile.TemporaryDirectory() as folder:
        means = Means(plan, Path(folder))
        yield train_first(["sft"], examples, seed=1, tick=lambda *_: None, means=means)[1]


@contextmanager
def running(socket: Path, *command: str, seconds: float = 120) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours from the moment its socket answers until the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until = time.monotonic() + seconds
        while True:
            assert process.poll() is None, f"{command[0]} ended"
            assert time.monotonic() < until, f"{command[0]} did not start"
            if answers_on(socket):
                break
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def client_of(socket: Path) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://engine", timeout=60)


@contextmanager
def home_of(trained) -> Iterator[Home]:
    """A short path: unix sockets cannot have a long one."""
    with tempfile.TemporaryDirectory(prefix="us-") as folder:
        home = Home(Path(folder).resolve() / "home").prepare()
        for name in (STUDENT, "sorting-abcd-v2"):
            store(home.artifacts / name, "sft", trained, "d" * 64, 1)
        yield home


def install(home: Home) -> None:
    migrate(home.database_url)
    writer = SqlWriter(write_engine(home.database_url))
    student = Student(id=STUDENT, project="default", task="sorting", fingerprint=SHAPE, version=1, recipe="sft", round=1, threshold=0.5)  # fmt: skip
    made = writer.execute(AddStudent(student, "data", {}, 1.0))
    for stage in (Stage.SHADOW, Stage.CANARY, Stage.LIVE):
        made = writer.execute(MoveStudent(
            student=STUDENT, to=stage, paused=False, expected_epoch=made.epoch, actor="trainer", reason="gates passed",
            at=5.0, certificate="cert", detail={},
        ))  # fmt: skip
    writer.close()


@asynccontextmanager
async def served(home: Home, base: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    policies = write_policies(home.root.parent / "policies", {"first": upstream.url}, extra=TASK, gateway=ENGINES.replace("BASE", str(base)))  # fmt: skip
    text = (policies / "gateway.yaml").read_text()
    (policies / "gateway.yaml").write_text(
        text.replace("providers:\n", "providers:\n  students: {type: classifier}\n", 1)
    )
    await asyncio.to_thread(install, home)
    async with gateway(home.root.parent, policies) as made:
        yield made


def mode_of(path: Path) -> int:
    return path.stat().st_mode


async def ask(made: Gateway, text: str) -> tuple[str, str]:
    """(answer, who gave it)."""
    async with openai.AsyncOpenAI(base_url=made.base_url, api_key=KEY, max_retries=0) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="sorting", messages=[{"role": "user", "content": text}]
        )
        return raw.parse().choices[0].message.content or "", raw.headers["x-understudy-candidate"]


async def serves(made: Gateway, home: Home, trained, mode: int, engine: str, upstream: Provider) -> None:
    """What either engine must do."""
    with client_of(home.engine_socket) as client:
        client.post("/v1/students/load", json={"student": STUDENT}).raise_for_status()
    texts = [f"my {thing} is broken 777" for thing in THINGS]
    said = [await ask(made, text) for text in texts]
    assert [one for one, _ in said] == list(THINGS.values())
    assert {who for _, who in said} == {f"students/{STUDENT}"}
    assert not [one for one in upstream.seen if one.body["messages"][-1]["content"] in texts]
    records = [one for one in made.records() if isinstance(one, CallRecord)][-4:]
    alone = answer(trained.parameters, [], texts)
    for record, ((_, sure),) in zip(records, alone, strict=True):
        assert record.confidence == pytest.approx(sure, abs=0.02), (
            "it must be as sure as it was when it was examined"
        )
        assert record.cost_usd is not None
        assert 0 < record.cost_usd < 0.05
    with client_of(home.engine_socket) as client:
        health = client.get("/healthz").json()["backends"][engine]
        assert (health["ok"], health["students"]) == (True, [STUDENT])
        client.post("/v1/students/load", json={"student": "sorting-abcd-v2"}).raise_for_status()
        health = client.get("/healthz").json()["backends"][engine]
        assert health["students"] == ["sorting-abcd-v2"], "capacity is one: the idle student made room"
        client.post("/v1/students/unload", json={"student": "sorting-abcd-v2"}).raise_for_status()
    assert stat.S_IMODE(mode) & 0o077 == 0, "nobody else may reach its admin routes"
    assert stat.S_IMODE(home.root.stat().st_mode) & 0o077 == 0
    assert (await ask(made, texts[0]))[1] == f"students/{STUDENT}", "it comes back by itself"


async def test_the_transformers_server(trained, base, upstream) -> None:
    with home_of(trained) as home:
        places = ("--home", str(home.root))
        async with served(home, base, upstream) as made:
            with running(
                home.engine_socket, "trainer.engines.classifier", *places, "--transformers-students", "1"
            ):
                who = (await ask(made, "my wifi is broken 1"))[1]
                assert who == "first/m", "while its backend is away a student's calls go to the teacher"
                upstream.seen.clear()
                with running(
                    home.transformers_socket, "trainer.engines.transformers", *places, "--max-students", "1"
                ):
                    await serves(
                        made, home, trained, mode_of(home.transformers_socket), "transformers", upstream
                    )


@pytest.mark.skipif(not VLLM, reason="UNDERSTUDY_TEST_VLLM names no interpreter with vLLM")
async def test_a_real_vllm(trained, base, upstream, monkeypatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    more = ("--", "--enforce-eager", "--dtype", "float32", "--max-num-seqs", "8")
    with home_of(trained) as home:
        places = ("--home", str(home.root))
        vllm = ("trainer.engines.vllm", *places, "--python", VLLM, "--base", str(base), "--max-adapters", "1", "--max-rank", "8", "--max-length", "256")  # fmt: skip
        async with served(home, base, upstream) as made:
            engine = ("trainer.engines.classifier", *places, "--vllm-base", str(base), "--vllm-adapters", "1")
            with running(home.engine_socket, *engine), running(home.vllm_socket, *vllm, *more, seconds=300):
                await serves(made, home, trained, mode_of(home.vllm_socket), "vllm", upstream)
                with client_of(home.vllm_socket) as client:
                    assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["base", STUDENT]
                with client_of(home.engine_socket) as client:
                    client.post("/v1/students/unload", json={"student": STUDENT}).raise_for_status()
                with client_of(home.vllm_socket) as client:
                    assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["base"]


def test_the_command_line_of_vllm() -> None:
    line = command(
        "/opt/vllm/bin/python",
        "/models/small",
        Path("/run/v.sock"),
        max_adapters=4,
        max_rank=24,
        max_length=512,
    )
    assert line[:3] == ["/opt/vllm/bin/python", "-m", "vllm.entrypoints.openai.api_server"]
    assert line[line.index("--max-lora-rank") + 1] == "32", "the next rank that has kernels"
    assert "--host" not in line
    assert "--trust-remote-code" not in line
    assert line[line.index("--max-loras") + 1] == "4"
