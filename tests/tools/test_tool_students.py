"""A task whose teacher answers with tool calls, from the first call to the student that makes them: every process,
real sockets, the stock clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
from desk_parts import TOOLS, Desk, tool, written
from gateway_server import KEY, Gateway, gateway
from scripted import provider

from gateway.storage.reading.reader import open_reader
from gateway.storage.records import CallRecord, PairRecord
from optimizer.certificate import read_envelope, recompute
from optimizer.rollout import Stage, Student

_POLICIES = """
providers:
  big: {type: openai, base_url: "URL", api_key: unused}
  students: {type: classifier}
prices: {big: {m: {input: 2.5, output: 10.0, as_of: "2026-01-01", source: test}}}
keys: [{name: tests, key: THEKEY, project: default}]
policies: [{name: cheap, strategy: cascade}]
timeouts: {first_byte: 30, chunk_gap: 30}
promotion:
  shadow: {sample: 1.0, gates: [{type: agreement, margin: 0.15}, {type: score, scorer: tool_calls, at_least: 0.8}]}
  canary: {share: 0.9, reask_rate: 0.9, gates: [{type: agreement, margin: 0.15}]}
tasks:
  - name: desk
    policy: cheap
    teacher: {provider: big, model: m, may_train_on_outputs: true}
    capture: {rate: 1.0}
    watch: {reask_rate: 0.1, max_p95_latency_ms: 30000, max_error_rate: 1.0}
    learn: {approval: automatic, min_calls: 260, calibration: crossfit, provisional: true, ceiling_rate: 0,
            comparison: tool_calls, delta: 0.1}
"""
_SYSTEM: Any = {"role": "system", "content": "You work at an order desk."}
_LIMIT_S = 500.0


@contextlib.contextmanager
def _processes(home: Path, policies: Path) -> Iterator[None]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    place = ["--home", str(home)]
    commands = (
        ["-m", "gateway.cli", "ingest", *place, "--policies", str(policies)],
        ["-m", "trainer.worker", *place, "--policies", str(policies), "--stale-s", "5"],
        ["-m", "trainer.engines.classifier", *place],
    )
    made = [subprocess.Popen([sys.executable, *one], env=kept, stderr=subprocess.DEVNULL) for one in commands]
    try:
        yield
    finally:
        for process in made:
            process.terminate()
        for process in made:
            process.wait(30)


def _ask(client: openai.AsyncOpenAI, text: str, **more: Any) -> Any:
    messages = [_SYSTEM, {"role": "user", "content": text}]
    asked = {"model": "desk", "messages": messages, "tools": TOOLS, **more}
    return client.chat.completions.with_raw_response.create(**asked)


class _Walk:
    """Traffic until a student serves."""

    def __init__(self, served: Gateway, client: openai.AsyncOpenAI, desk: Desk) -> None:
        self.served, self.client, self.desk = served, client, desk
        self.until = time.monotonic() + _LIMIT_S

    def students(self) -> list[Student]:
        reader = open_reader(self.served.home)
        try:
            return list(reader.students())
        finally:
            reader.close()

    async def wait(self, what: Callable[[], bool]) -> None:
        while not what():
            assert time.monotonic() < self.until, f"not in time: {self.students()}"
            await asyncio.sleep(0.1)

    async def send(self, count: int) -> list[tuple[str, str, Any]]:
        """(text, who answered, message) of each call."""
        gate = asyncio.Semaphore(6)

        async def one(text: str) -> tuple[str, str, Any]:
            async with gate:
                raw = await _ask(self.client, text)
                return text, raw.headers["x-understudy-candidate"], raw.parse().choices[0]

        return list(await asyncio.gather(*map(one, self.desk.messages(count))))

    async def live(self) -> Student:
        await self.send(290)
        await self.wait(lambda: bool(self.students()))
        while not (found := [one for one in self.students() if one.stage is Stage.LIVE]):
            assert time.monotonic() < self.until, f"not in time: {self.students()}"
            await self.send(25)
            await asyncio.sleep(1.0)  # the gateway hears of a stage now and then; comparisons follow their calls
        return found[0]


async def test_a_teacher_that_calls_tools_gets_a_student_that_does() -> None:
    with tempfile.TemporaryDirectory(prefix="us-") as folder:
        root, desk = Path(folder), Desk()
        async with provider() as big:
            big.behave = desk.teach
            async with gateway(root, _policies(root / "policies", big.url)) as served:
                client = openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0)
                await _walked(_Walk(served, client, desk))
                await client.close()


def _policies(folder: Path, url: str) -> Path:
    folder.mkdir()
    (folder / "all.yaml").write_text(_POLICIES.replace("URL", url).replace("THEKEY", KEY))
    return folder


async def _walked(walk: _Walk) -> None:
    with _processes(walk.served.home.root, walk.served.policies):
        student = await walk.live()
        await _served(walk, student)
        await _streamed(walk)
        await _told(walk)
        await _other_apis(walk, student)
        await _left_to_the_teacher(walk)
    _proven(walk.served, student)


async def _served(walk: _Walk, student: Student) -> None:
    answered = [one for one in await walk.send(60) if one[1] == f"students/{student.id}"]
    assert len(answered) > 25
    ids = set()
    same = 0
    for text, _, choice in answered:
        calls = choice.message.tool_calls
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
        ids |= {call.id for call in calls}
        same += [(call.function.name, call.function.arguments) for call in calls] == walk.desk.calls(text)
    assert same >= 0.9 * len(answered)
    assert len(ids) == sum(len(choice.message.tool_calls) for _, _, choice in answered)
    assert max(len(choice.message.tool_calls) for _, _, choice in answered) == 2
    assert all(name.startswith("call_") for name in ids)
    record = next(one for one in walk.served.records() if isinstance(one, CallRecord) and one.student)
    assert record.cost_usd is not None and record.teacher_cost_usd is not None
    assert record.cost_usd < record.teacher_cost_usd


async def _until_served(walk: _Walk, wanted: Callable[[list[tuple[str, str]]], bool], ask: Callable[[str], Any]) -> Any:
    """What ``ask`` gave for a message of a kind that the student answered."""
    while True:
        assert time.monotonic() < walk.until
        for text in walk.desk.messages(8):
            if wanted(walk.desk.calls(text)):
                asked = walk.desk.asked
                found = await ask(text)
                if walk.desk.asked == asked:
                    return found


async def _streamed(walk: _Walk) -> None:
    async def ask(text: str) -> Any:
        messages: Any = [_SYSTEM, {"role": "user", "content": text}]
        deltas = []
        async with walk.client.chat.completions.stream(model="desk", messages=messages, tools=TOOLS) as events:  # type: ignore[arg-type]
            async for event in events:
                if event.type == "chunk":
                    deltas += [call for one in event.chunk.choices for call in one.delta.tool_calls or ()]
            return text, deltas, (await events.get_final_completion()).choices[0]

    text, deltas, choice = await _until_served(walk, lambda calls: len(calls) == 2, ask)
    assert sorted({call.index for call in deltas}) == [0, 1]
    assert choice.finish_reason == "tool_calls"
    said = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls]
    assert said == walk.desk.calls(text)


async def _told(walk: _Walk) -> None:
    """Who asks for it hears how sure the student is, of the whole and of each field; the ledger keeps it."""

    async def ask(text: str) -> Any:
        return await _ask(walk.client, text, extra_headers={"x-understudy-tell": "confidence"})

    raw = await _until_served(walk, lambda calls: [name for name, _ in calls] == ["cancel"], ask)
    fields = json.loads(raw.headers["x-understudy-field-confidence"])
    assert set(fields) == {"calls", "0.order_id", "0.reason"}
    assert all(0.3 < sure <= 1 for sure in fields.values())
    assert 0 < float(raw.headers["x-understudy-confidence"]) <= 1
    name = raw.headers["x-understudy-call-id"]
    (record,) = (one for one in walk.served.records() if isinstance(one, CallRecord) and one.id == name)
    assert record.attempts[-1].fields == fields
    plain = await _ask(walk.client, walk.desk.messages(1)[0])
    assert not [name for name in plain.headers if name.endswith("confidence")]


async def _other_apis(walk: _Walk, student: Student) -> None:
    """The same task over other APIs. Anthropic's says the same in its own words, so it is the same student's; the
    Responses API always says whether a tool is strict, so its calls are a version of their own."""
    flat = [{"type": "function", **one["function"], "strict": False} for one in TOOLS]

    async def responses(text: str) -> Any:
        answer = await walk.client.responses.create(
            model="desk", instructions=_SYSTEM["content"], input=text, tools=flat,  # type: ignore[arg-type]
        )  # fmt: skip
        return text, [(one.name, one.arguments) for one in answer.output if one.type == "function_call"]

    claude = anthropic.AsyncAnthropic(base_url=walk.served.url, api_key=KEY, max_retries=0)
    blocks = [
        {"name": one["function"]["name"], "input_schema": one["function"]["parameters"]} for one in TOOLS
    ]

    async def messages(text: str) -> Any:
        answer = await claude.messages.create(
            model="desk", max_tokens=500, system=_SYSTEM["content"], tools=blocks,  # type: ignore[arg-type]
            messages=[{"role": "user", "content": text}],
        )  # fmt: skip
        return text, answer.stop_reason, [(one.name, one.input) for one in answer.content if one.type == "tool_use"]

    text = walk.desk.messages(1)[0]
    while not walk.desk.calls(text):
        text = walk.desk.messages(1)[0]
    said = (await responses(text))[1]
    assert said == walk.desk.calls(text)
    _, stop, used = await messages(text)
    assert (stop, used) == ("tool_use", [(name, json.loads(said)) for name, said in walk.desk.calls(text)])
    await claude.close()
    shapes = {
        one.endpoint: one.fingerprint for one in walk.served.records()
        if isinstance(one, CallRecord) and one.endpoint != "chat"
    }  # fmt: skip
    assert shapes["messages"] == student.fingerprint != shapes["responses"]


async def _left_to_the_teacher(walk: _Walk) -> None:
    text = next(text for text in walk.desk.messages(40) if walk.desk.calls(text))
    asked: list[dict[str, Any]] = [
        {"tools": [*TOOLS, tool("refund", {}, [])]},
        {"tools": [tool("track", {"order_id": {"type": "integer"}}, ["order_id"]), *TOOLS[1:]]},
        {"tool_choice": "required"},
    ]
    for more in asked:
        raw = await _ask(walk.client, text, **more)
        assert raw.headers["x-understudy-candidate"] == "big/m"
    talk: Any = [
        _SYSTEM, {"role": "user", "content": text},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "track", "arguments": written(order_id="A-1")}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": text},
    ]  # fmt: skip
    raw = await _ask(walk.client, text, messages=talk)
    assert raw.headers["x-understudy-candidate"] == "big/m"

    def known() -> bool:
        reader = open_reader(walk.served.home)
        try:
            return len({one.fingerprint for one in reader.task_versions()}) >= len(asked) + 2
        finally:
            reader.close()

    await walk.wait(known)


def _proven(served: Gateway, student: Student) -> None:
    """Each step of the student has a certificate whose verdict follows from its evidence; pairs hold what was called."""
    kinds = set()
    for path in served.home.certificates.glob(f"{student.id}-*.json"):
        certificate = read_envelope(path.read_bytes()).certificate
        assert recompute(certificate) == []
        kinds.add(certificate.kind)
    assert kinds == {"screening", "shadow", "canary"}
    pairs = [one for one in served.records() if isinstance(one, PairRecord)]
    called = [one for one in pairs if one.teacher_text.startswith('[{"name":') and one.answered]
    assert called and all(one.scores["tool_calls"] == float(one.agree) for one in called)
    assert sum(one.agree for one in called) > 0.9 * len(called)
