"""What leaves and what comes back by every API, where personal data is masked, a phrase stopped and another rewritten."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from gateway_server import KEY, gateway
from more_gateway import policies_at
from scripted import COMPLETION, Line, Provider, chunk, provider, sse

MAIL, CARD = "jane@example.org", 4111111111111111
SAFETY = r"""guardrails:
  privacy: {type: pii}
  words: {type: blocklist, phrases: [project falcon]}
  birds: {type: blocklist, phrases: [blue heron], action: rewrite, replacement: "\"bird\""}
"""
CALLED = json.dumps({"c": CARD})
ROUND = [
    {"role": "user", "content": f"I am {MAIL}"},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c0", "type": "function", "function": {"name": "f", "arguments": CALLED}}]},
    {"role": "tool", "tool_call_id": "c0", "content": f'{{"to": "jane\\u0040example.org", "c": {CARD}}}'},
]  # fmt: skip
GEMINI = {"contents": [
    {"role": "user", "parts": [{"text": f"I am {MAIL}"}]},
    {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"c": CARD}}}]},
    {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"to": MAIL, "c": CARD}}}]},
]}  # fmt: skip
DOORS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": ROUND}),
    "responses": ("/v1/responses", {"input": [
        ROUND[0], {"type": "function_call", "call_id": "c0", "name": "f", "arguments": CALLED},
        {"type": "function_call_output", "call_id": "c0", "output": ROUND[2]["content"]}]}),
    "messages": ("/v1/messages", {"max_tokens": 99, "messages": [
        ROUND[0], {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"c": CARD}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": ROUND[2]["content"]}]}]}),
    "generateContent": ("/v1beta/models/triage:", GEMINI),
}  # fmt: skip


def calling(arguments: str) -> list[dict[str, Any]]:
    return [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}]


def scripted(message: dict[str, Any]) -> Any:
    """Gives ``message``, whole or three characters at a time."""

    async def behave(line: Line) -> None:
        finish = "tool_calls" if "tool_calls" in message else "stop"
        if not line.seen.body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
            await line.answer(body={**COMPLETION, "choices": [choice]})
            return
        deltas = []
        for name in ("reasoning_content", "content", "refusal"):
            text = message.get(name) or ""
            deltas += [{name: text[at : at + 3]} for at in range(0, len(text), 3)]
        for call in message.get("tool_calls", ()):
            said = call["function"]["arguments"]
            first = {**call, "index": 0, "function": {**call["function"], "arguments": ""}}
            deltas.append({"tool_calls": [first]})
            for at in range(0, len(said), 3):
                deltas.append({"tool_calls": [{"index": 0, "function": {"arguments": said[at : at + 3]}}]})
        await line.stream(sse([*map(chunk, deltas), chunk({}, finish)]))

    return behave


@asynccontextmanager
async def guarded(tmp: Path, safety: str = SAFETY) -> AsyncIterator[tuple[Provider, Any]]:
    async with provider() as upstream:
        policies = policies_at(tmp, upstream)
        (policies / "safety.yaml").write_text(safety)
        async with gateway(tmp, policies) as served, httpx.AsyncClient(timeout=30) as http:

            async def ask(path: str, body: dict[str, Any] | None = None, **more: Any) -> httpx.Response:
                given = {"json": {"model": "triage", **body}} if body is not None else {}
                return await http.post(served.url + path, headers={"authorization": f"Bearer {KEY}"}, **given, **more)

            yield upstream, ask


def door(name: str, streamed: bool) -> tuple[str, dict[str, Any]]:
    path, body = DOORS[name]
    if name == "generateContent":
        return path + ("streamGenerateContent?alt=sse" if streamed else "generateContent"), body
    return path, {**body, "stream": streamed}


BLOCKED: list[dict[str, Any]] = [
    {"content": "see project falcon now"}, {"content": "see project\\u0020falcon now"},
    {"tool_calls": calling('{"a": "project\\u0020falcon"}')}, {"tool_calls": calling('{"project\\tfalcon": 1}')},
    {"reasoning_content": "hm, project falcon", "content": "ok"}, {"refusal": "not project falcon"},
]  # fmt: skip


async def test_nothing_passes_by_any_door(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (upstream, ask):
        for name in DOORS:
            for streamed in (False, True):
                path, body = door(name, streamed)
                for message in BLOCKED:
                    upstream.behave = scripted(message)
                    got = await ask(path, body)
                    assert "blocked by the guardrail 'words'" in got.text, (name, streamed, message)
                    assert "project falcon" not in got.text and "u0020falcon" not in got.text
                sent = json.dumps(upstream.seen[-1].body)
                assert "jane" not in sent and "4111" not in sent and "[CARD_NUMBER_1]" in sent
                said = upstream.seen[-1].body["messages"]
                assert json.loads(said[1]["tool_calls"][0]["function"]["arguments"]) == {"c": "[CARD_NUMBER_1]"}


async def test_values_come_back_and_words_are_rewritten_by_every_door(tmp_path: Path) -> None:
    arguments = '{"a":"[EMAIL_1]","c":"[CARD_NUMBER_1]","b":"blue\\u0020heron","n":[1,2]}'
    expected = {"a": MAIL, "c": CARD, "b": '"bird"', "n": [1, 2]}
    async with guarded(tmp_path) as (upstream, ask):
        for name in DOORS:
            for streamed in (False, True):
                path, body = door(name, streamed)
                upstream.behave = scripted({"content": "To [EMAIL_1]: a blue heron, [CARD_NUMBER_1]."})
                got = (await ask(path, body)).text
                assert "heron" not in got and "EMAIL_1" not in got and "NUMBER" not in got and "bird" in got
                upstream.behave = scripted({"tool_calls": calling(arguments)})
                got = (await ask(path, body)).text
                assert "heron" not in got and "EMAIL_1" not in got and "NUMBER" not in got
                if not streamed:
                    assert _arguments(json.loads(got)) == expected


async def test_signed_thoughts_keep_their_signature_or_lose_it_as_a_whole(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (upstream, ask):
        for said, told, signature in (("It is fine.", "It is fine.", "SIG"), ("A blue heron.", 'A "bird".', "")):
            block = {"type": "thinking", "thinking": said, "signature": "SIG"}
            deltas = [*({"reasoning_content": letter} for letter in said), {"thinking_blocks": [block]}, {"content": "Yes."}]
            streamed = sse([*map(chunk, deltas), chunk({}, "stop")])

            async def behave(line: Line, raw: bytes = streamed) -> None:
                await line.stream(raw)

            upstream.behave = behave
            thinking = {"type": "enabled", "budget_tokens": 1024}
            asked = {"max_tokens": 2000, "messages": [ROUND[0]], "stream": True, "thinking": thinking}
            got = await ask("/v1/messages", asked)
            events = [json.loads(one[5:]) for one in got.text.splitlines() if one.startswith("data:")]
            changes = [one["delta"] for one in events if one["type"] == "content_block_delta"]
            assert "".join(one.get("thinking", "") for one in changes) == told
            assert "".join(one.get("signature", "") for one in changes) == signature
            assert changes[-1] == {"type": "text_delta", "text": "Yes."}


def _arguments(answer: Any) -> Any:
    """The arguments of the call in an answer of any API."""
    if "choices" in answer:
        return json.loads(answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])
    if "output" in answer:
        return json.loads(next(one["arguments"] for one in answer["output"] if one["type"] == "function_call"))
    if "candidates" in answer:
        return answer["candidates"][0]["content"]["parts"][0]["functionCall"]["args"]
    return next(one["input"] for one in answer["content"] if one["type"] == "tool_use")


# --------------------------------------------------------------------------------------------- beside chat
def giving(body: Any, kind: str = "application/json") -> Any:
    async def behave(line: Line) -> None:
        await line.answer(body=body, headers={"content-type": kind})

    return behave


async def test_every_field_of_prose_is_judged_also_those_nobody_knows(tmp_path: Path) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": [0.1]}]
    vectors = giving({"object": "list", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}})
    picture = giving({"created": 1, "data": [{"b64_json": "AAAA"}]})
    bodies: list[tuple[str, Any, dict[str, Any]]] = [
        ("/v1/images/generations", picture, {"prompt": "a cat", "negative_prompt": "no {}", "size": "1024x1024"}),
        ("/v1/audio/speech", giving(b"RIFF", "audio/wav"), {"input": "x", "voice": "alloy", "instructions": "like {}"}),
        ("/v1/embeddings", vectors, {"input": ["{}"], "task_hint": "about {}"}),
    ]
    async with guarded(tmp_path) as (upstream, ask):
        for path, behave, body in bodies:
            upstream.behave = behave
            for text, status in ((MAIL, 200), ("project falcon", 400)):
                before = len(upstream.seen)
                got = await ask(path, json.loads(json.dumps(body).replace("{}", text)))
                assert got.status_code == status, got.text
                assert len(upstream.seen) - before == (status == 200)
            assert "[EMAIL_1]" in json.dumps(upstream.seen[-1].body) and MAIL not in json.dumps(upstream.seen[-1].body)
        upstream.behave = giving({"text": "hello"})
        fields = {"model": "triage", "prompt": f"of {MAIL}", "hints": f"with {MAIL}", "include[]": ["logprobs", "words"]}
        got = await ask("/v1/audio/transcriptions", None, data=fields, files={"file": ("a.wav", b"RIFF", "audio/wav")})
        sent = upstream.seen[-1].body
        assert got.json() == {"text": "hello"} and b"jane" not in sent and sent.count(b"[EMAIL_1]") == 2
        assert b"\r\n\r\nlogprobs\r\n" in sent and b"\r\n\r\nwords\r\n" in sent


def events(*deltas: str) -> bytes:
    told = [{"type": "transcript.text.delta", "delta": one} for one in deltas]
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in told)


async def test_answers_in_words_are_judged_whatever_they_come_in(tmp_path: Path) -> None:
    streamed = events("see proj", "ect fal", "con")
    answers: list[tuple[Any, str]] = [
        ({"text": "see project falcon"}, "application/json"), (b"see project falcon", "text/plain; charset=utf-8"),
        (b"1\n00:00:00,000 --> 00:00:01,000\nsee project falcon\n", "application/x-subrip"),
        (streamed, "text/event-stream"), ({"data": [{"revised_prompt": "a project falcon"}]}, "application/json"),
    ]  # fmt: skip
    async with guarded(tmp_path) as (upstream, ask):

        async def heard(body: Any, kind: str) -> httpx.Response:
            upstream.behave = giving(body, kind)
            fields = {"model": "triage", "prompt": f"of {MAIL}"}
            sound = {"file": ("a.wav", b"RIFF", "audio/wav")}
            got: httpx.Response = await ask("/v1/audio/transcriptions", None, data=fields, files=sound)
            return got

        for body, kind in answers:
            got = await heard(body, kind)
            assert got.status_code == 400 and got.json()["error"]["code"] == "guardrail_blocked"
        told = await heard({"text": "[EMAIL_1] saw a blue heron", "n": 1.5}, "application/json")
        assert told.json() == {"text": f'{MAIL} saw a "bird"', "n": 1.5}
        assert (await heard(b"[EMAIL_1] saw a blue heron", "text/plain")).text == f'{MAIL} saw a "bird"'
        clean = events("see proj", "ect fall")
        assert (await heard(clean, "text/event-stream")).content == clean
        got = await heard(events("a blue", " heron"), "text/event-stream")
        assert got.status_code == 400  # what is streamed in events cannot be rewritten, and is stopped
        assert (await heard(b"\xff\xfe" * 9, "audio/wav")).content == b"\xff\xfe" * 9
