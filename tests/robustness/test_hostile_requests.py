"""Requests that nobody sends by mistake, over every route that takes JSON: each is refused in its API's shape with a status
that says whose fault it is, nothing of it reaches a provider, and the next call is answered."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from rough import BODY, Start, ask
from scripted import Line, Provider, usual

from gateway.upstreams.hops import HEADER, MOST

HI: Any = [{"role": "user", "content": "hi"}]
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": BODY,
    "/v1/responses": {"model": "triage", "input": "hi"},
    "/v1/responses/input_tokens": {"model": "triage", "input": "hi"},
    "/v1/conversations": {},
    "/v1/completions": {"model": "triage", "prompt": "hi"},
    "/v1/embeddings": {"model": "first/m", "input": "hi"},
    "/v1/moderations": {"input": "hi"},
    "/v1/images/generations": {"model": "first/m", "prompt": "hi"},
    "/v1/audio/speech": {"model": "first/m", "input": "hi", "voice": "alloy"},
    "/v1/batches": {
        "input_file_id": "file-0",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    },
    "/v1/messages": {"model": "triage", "max_tokens": 9, "messages": HI},
    "/v1/messages/count_tokens": {"model": "triage", "messages": HI},
    "/v1beta/models/triage:generateContent": {"contents": [{"parts": [{"text": "hi"}]}]},
    "/v1beta/models/triage:countTokens": {"contents": [{"parts": [{"text": "hi"}]}]},
    "/v1/fine_tuning/jobs": {"model": "triage", "training_file": "file-0"},
    "/v1/fine_tuning/alpha/graders/run": {
        "grader": {
            "type": "string_check",
            "name": "same",
            "input": "a",
            "reference": "{{item.a}}",
            "operation": "eq",
        },
        "model_sample": "a",
        "item": {"a": "a"},
    },
    "/v1/vector_stores": {"name": "a"},
    "/v1/feedback": {"call_id": "chatcmpl-0", "score": 1},
}
RAW: dict[str, bytes] = {
    "empty": b"", "null": b"null", "a list": b"[1]", "a text": b'"hi"', "a number": b"1", "cut": b'{"model": "tri',
    "two documents": b'{"model": "a"}{"model": "b"}', "junk": b"\x00\xff\xfe", "bad UTF-8": b'{"model": "\xff\xfe"}',
    "NaN": b'{"model": "triage", "temperature": NaN}', "infinity": b'{"model": "triage", "temperature": 1e999}',
    "a key twice": b'{"model": "triage", "model": "other"}', "single quotes": b"{'model': 'triage'}",
    "a comment": b'{"model": "triage" /* x */}', "deep lists": b'{"model": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "deep objects": b'{"a":' * 5000 + b"1" + b"}" * 5000, "a form": b"model=triage&messages=hi", "XML": b"<a>&b;</a>",
}  # fmt: skip
"""An empty list is how PHP writes an empty object (``test_empty_lists.py``), so the list has something in it."""
SETTINGS = (
    "surface: {embeddings: first, images: first, audio: first, moderations: {provider: first, model: m}}\n"
)


def in_shape(answer: httpx.Response) -> None:
    """An error as the API's clients read it, that names nothing of ours inside."""
    error = answer.json()["error"]
    path = answer.request.url.path
    if "/messages" in path and "/chat" not in path:
        assert answer.json()["type"] == "error"
        assert error["type"].endswith("_error")
    elif path.startswith("/v1beta"):
        assert error["code"] == answer.status_code
        assert error["status"].isupper()
    else:
        assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert answer.headers["x-request-id"]
    assert not [one for one in ("Traceback", ".py", "msgspec", "litestar", "gateway.") if one in answer.text]


async def test_what_is_no_json_object_is_refused_everywhere(start: Start, first: Provider) -> None:
    wrong = []
    async with start({"first": first.url}, settings=SETTINGS) as (_, client):
        for path in ROUTES:
            for name, raw in RAW.items():
                answer = await client.post(path, content=raw, headers={"content-type": "application/json"})
                if answer.status_code != 400:
                    wrong.append((path, name, answer.status_code))
                else:
                    in_shape(answer)
        assert not wrong
        assert not first.seen
        assert (await ask(client)).status_code == 200


async def test_a_compressed_body_is_told_to_come_as_it_is(start: Start, first: Provider) -> None:
    async with start({"first": first.url}, settings=SETTINGS) as (_, client):
        for path, body in ROUTES.items():
            for name, packed in (("gzip", gzip.compress), ("deflate", zlib.compress)):
                answer = await client.post(path, content=packed(json.dumps(body).encode()), headers={"content-encoding": name})
                assert answer.status_code == 415 and answer.headers["accept-encoding"] == "identity", (path, answer.text)
                in_shape(answer)
            for name, told in (("br", "'br'"), ("zstd", "'zstd'"), ("gzip, br", "'gzip, br'"), ("x" * 90, "'xxxx")):
                answer = await client.post(path, content=b"\x0b\x02\x80", headers={"content-encoding": name})
                assert answer.status_code == 415 and told in answer.text, (path, answer.text)

            async def pieces() -> AsyncIterator[bytes]:
                yield b"\x0b"
                yield b"\x02\x80"

            answer = await client.post(path, content=pieces(), headers={"content-encoding": "br"})
            assert answer.status_code == 415, (path, answer.text)
        form: Any = {"data": {"purpose": "user_data"}, "files": {"file": ("a", b"a")}}
        answer = await client.post("/v1/files", **form, headers={"content-encoding": "br"})
        assert answer.status_code == 415 and "'br'" in answer.text
        assert not first.seen
        whole = {"model": "triage", "messages": [{"role": "user", "content": "hi"}]}
        assert (await client.post("/v1/chat/completions", json=whole, headers={"content-encoding": "identity"})).status_code == 200


VALUES: list[Any] = [None, True, -1, 1e300, "", "x" * 300, [], [None], {"a": {"b": [1]}}, "\x00\u202e", 10**30]
CHAT: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"), ({"messages": "hi"}, "messages"), ({"messages": {}}, "messages"), ({"messages": []}, "messages"),
    ({"messages": [1]}, "messages"), ({"messages": [{}]}, "messages"), ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": 7, "content": "x"}]}, "messages"), ({"messages": [{"role": "user", "content": 7}]}, "messages"),
    ({"messages": [{"role": "user", "content": [7]}]}, "messages"), ({"messages": [{"role": "user", "content": "x", "tool_calls": 7}]}, "messages"),
    ({"model": ""}, "model"), ({"model": 7}, "model"), ({"model": None}, "model"), ({"model": "x" * 300}, "model"), ({"model": ["triage"]}, "model"),
    ({"temperature": 2.1}, "temperature"), ({"temperature": -0.1}, "temperature"), ({"temperature": "hot"}, "temperature"),
    ({"top_p": 1.1}, "top_p"), ({"top_p": -1}, "top_p"), ({"n": 0}, "n"), ({"n": 129}, "n"), ({"n": 1.5}, "n"), ({"n": "2"}, "n"),
    ({"n": 1_000_000}, "n"), ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": -5}, "max_tokens"), ({"max_tokens": "many"}, "max_tokens"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"), ({"seed": "x"}, "seed"), ({"seed": 1.5}, "seed"),
    ({"top_logprobs": 21}, "top_logprobs"), ({"top_logprobs": -1}, "top_logprobs"), ({"logprobs": "yes"}, "logprobs"),
    ({"logit_bias": [1]}, "logit_bias"), ({"logit_bias": {"1": "x"}}, "logit_bias"), ({"logit_bias": {"1": 101}}, "logit_bias"),
    ({"stop": 7}, "stop"), ({"stop": [7]}, "stop"),
    ({"presence_penalty": 2.5}, "presence_penalty"), ({"frequency_penalty": -2.5}, "frequency_penalty"), ({"presence_penalty": "x"}, "presence_penalty"),
    ({"stream": "yes"}, "stream"), ({"stream": 1}, "stream"), ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": 7}, "stream_options"), ({"tools": {}}, "tools"), ({"tools": [7]}, "tools"), ({"tools": "x"}, "tools"),
    ({"tool_choice": 7}, "tool_choice"), ({"functions": 7}, "functions"), ({"response_format": "json"}, "response_format"),
    ({"metadata": {"k": 7}}, "metadata"), ({"metadata": {"k" * 65: "v"}}, "metadata"), ({"metadata": {"k": "v" * 513}}, "metadata"),
    ({"metadata": {str(at): "v" for at in range(17)}}, "metadata"), ({"metadata": []}, "metadata"), ({"user": 7}, "user"),
    ({"store": "yes"}, "store"), ({"api_base": "http://169.254.169.254/"}, "api_base"), ({"base_url": "http://127.0.0.1/"}, "base_url"),
    ({"api_key": "sk-x"}, "api_key"), ({"headers": {"x": "y"}}, "headers"), ({"extra_headers": {}}, "extra_headers"),
    ({"custom_llm_provider": "x"}, "custom_llm_provider"), ({"api_version": "1"}, "api_version"),
]  # fmt: skip


async def test_what_openai_refuses_is_refused_by_name(start: Start, first: Provider) -> None:
    wrong = []
    async with start({"first": first.url}) as (_, client):
        for change, param in CHAT:
            answer = await client.post("/v1/chat/completions", json={**BODY, **change})
            if answer.status_code != 400:
                wrong.append((change, answer.status_code, ""))
                continue
            in_shape(answer)
            if not str(answer.json()["error"]["param"]).startswith(param):
                wrong.append((change, 400, answer.json()["error"]["param"]))
        assert not wrong
        assert not first.seen


async def knows_every_path(line: Line) -> None:
    """A healthy provider: what is asked of it is answered, whatever it is."""
    path = line.seen.path.removeprefix("/v1")
    if path == "/embeddings":
        data: Any = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        await line.answer(
            200,
            {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}},
        )
    elif path == "/moderations":
        await line.answer(
            200,
            {
                "id": "modr-1",
                "model": "m",
                "results": [{"flagged": False, "categories": {}, "category_scores": {}}],
            },
        )
    elif path.startswith("/images"):
        await line.answer(200, {"created": 1, "data": [{"b64_json": "aGk="}]})
    else:
        await usual(line)


async def test_any_value_in_any_field_is_an_answer_or_the_clients_mistake(
    start: Start, first: Provider
) -> None:
    """Fuzzing by hand: every field of every route in turn holds every odd value."""
    wrong, asked, first.behave = [], 0, knows_every_path
    async with start({"first": first.url}, settings=SETTINGS) as (_, client):
        for path, body in ROUTES.items():
            for name in [*body, "metadata", "tools", "stream"]:
                for value in VALUES:
                    raw = json.dumps({**body, name: value})
                    answer = await client.post(
                        path, content=raw, headers={"content-type": "application/json"}
                    )
                    asked += 1
                    off = path.startswith("/v1/fine_tuning")  # this gateway offers none, and says so
                    if answer.status_code >= (504 if off else 500):
                        wrong.append((path, name, value, answer.status_code))
                    elif answer.status_code >= 400:
                        in_shape(answer)
        assert not wrong
        assert asked > 500
        assert (await ask(client)).status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/files/../../etc/passwd", "/v1/files/..%2f..%2fetc%2fpasswd", "/v1/files/%00", "/v1/batches/' OR 1=1 --",
             "/v1/responses/{{7*7}}", "/v1/chat/completions/%ff", "/V1/chat/completions",
             "/v1/conversations/" + "x" * 3000, "/v1/fine_tuning/jobs/%0d%0aset-cookie:a=b", "/v1/unknown"],
)  # fmt: skip
async def test_odd_paths_lead_nowhere(start: Start, first: Provider, path: str) -> None:
    async with start({"first": first.url}) as (_, client):
        answer = await client.get(path)
        assert answer.status_code in (400, 401, 403, 404, 405)
        assert "set-cookie" not in answer.headers
        assert "49" not in answer.json()["error"]["message"].replace(path, "")
        assert not first.seen
        assert (await client.delete("/v1/chat/completions")).json()["error"][
            "type"
        ] == "invalid_request_error"


async def test_a_provider_that_leads_back_here_ends_at_once(start: Start, first: Provider) -> None:
    """The scripted provider hands every request to the gateway that asked it, as an address written wrongly would."""
    async with start({"first": first.url}) as (served, client):

        async def round_again(line: Line) -> None:
            told = {name: line.seen.headers[name] for name in (HEADER,) if name in line.seen.headers}
            body = {**line.seen.body, "model": "triage"}
            answer = await client.post(f"{served.base_url}/chat/completions", json=body, headers=told)
            await line.answer(answer.status_code, answer.json())

        first.behave = round_again
        answer = await ask(client)
        assert (answer.status_code, answer.json()["error"]["code"]) == (508, "loop_detected")
        assert answer.headers["x-should-retry"] == "false"
        assert len(first.seen) == MOST
        assert [one.headers[HEADER] for one in first.seen] == [str(at + 1) for at in range(MOST)]
        assert (
            await client.post(
                "/v1/embeddings", json={"model": "first/m", "input": "x"}, headers={HEADER: "9"}
            )
        ).status_code == 508
        assert (
            await client.post("/v1/chat/completions", json=BODY, headers={HEADER: "junk"})
        ).status_code == 508
        first.behave = usual
        assert (await ask(client)).status_code == 200
