"""Threats that no other test holds; docs/security.md names a test for each, and here it is seen that they exist."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from gateway_server import ADMIN, KEY, gateway, write_policies
from rough import BODY, Start, ask
from scripted import COMPLETION, Line, Provider

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = "a-key-of-another-project-02"
_ROW = re.compile(r"^\| (\d+) \|.*\| (.*) \|$", re.MULTILINE)


def test_every_threat_has_a_test_that_exists() -> None:
    rows = {int(number): tests for number, tests in _ROW.findall((ROOT / "docs" / "security.md").read_text())}
    assert set(rows) == set(range(1, 37))
    missing = []
    for number, told in rows.items():
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", told)
        assert named, f"row {number} names no test"
        for path, name in named:
            file = ROOT / path
            if not file.exists() or (name and f"def {name}(" not in file.read_text()):
                missing.append(f"row {number}: {path}::{name}")
    assert not missing


def keys_that_would_be_sql() -> list[str]:
    parts = ["' OR '1'='1", "'; DROP TABLE api_keys;--", '" UNION SELECT digest FROM api_keys--', "\\' OR 1=1#", "%", "_", "x'--"]
    rng = random.Random(1)
    return [*parts, *("sk-us-" + "".join(rng.choices("'\";-%_()=*/\\ aZ0", k=30)).strip() for _ in range(100))]


def traced(patch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that this process has SQLite execute from now on, its parameters written out."""
    told: list[str] = []
    real = sqlite3.connect

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = real(*args, **options)
        connection.set_trace_callback(told.append)
        return connection

    patch.setattr(sqlite3, "connect", connect)
    return told


async def test_row_1_keys_that_would_be_sql_are_wrong_keys(
    start: Start, first: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = traced(monkeypatch)
    async with start({"first": first.url}) as (served, client):
        texts = keys_that_would_be_sql()
        for text in texts:
            answer = await client.post("/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {text}"})
            assert answer.status_code == 401 and (len(text) < 5 or text not in answer.text)
        with closing(sqlite3.connect(served.home.database)) as database:
            assert database.execute("SELECT count(*) FROM api_keys").fetchone() == (0,)
    asked = {one for one in told if "FROM" in one}
    digests = {hashlib.sha256(text.encode()).hexdigest() for text in texts}
    assert any("api_keys" in one for one in asked), "nothing was traced"
    assert len(asked) < 20 and not first.seen  # the same few whoever asks: keys are read, and looked up in memory
    assert not any(part in one for one in told for part in (*digests, *(text for text in texts if len(text) > 4)))


_STARTED: list[str] = []
sys.addaudithook(
    lambda event, given: _STARTED.append(f"{event} {given}")
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.system", "compile", "exec")
    else None
)


@pytest.mark.parametrize("text", ["{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{7*7}", "{% print(7*7) %}", "{0.__class__}"])
async def test_rows_4_and_5_a_text_is_never_run_nor_filled_in(start: Start, first: Provider, text: str) -> None:
    async def echo(line: Line) -> None:
        said = line.seen.body["messages"][-1]["content"]
        choice = {"index": 0, "message": {"role": "assistant", "content": f"You said {said}"}, "finish_reason": "stop"}
        await line.answer(body={**COMPLETION, "choices": [choice]})

    first.behave = echo
    async with start({"first": first.url}) as (_, client):
        await ask(client)
        _STARTED.clear()
        body = {"messages": [{"role": "system", "content": text}, {"role": "user", "content": text}], "metadata": {"a": text}}
        answer = await ask(client, **body, user=text)
        grader = {"type": "string_check", "name": text, "input": text, "reference": "49", "operation": "eq"}
        graded = await client.post("/v1/fine_tuning/alpha/graders/run", json={"grader": grader, "model_sample": text})
        started = [one for one in _STARTED if not one.startswith(("compile", "exec"))]
    assert answer.json()["choices"][0]["message"]["content"] == f"You said {text}"
    assert [turn["content"] for turn in first.seen[-1].body["messages"]] == [text, text]
    assert graded.status_code != 200 or graded.json()["reward"] == 0.0
    assert graded.status_code < 500 and not started


ODD_HEADERS = {
    "content-encoding": ["gzip", "br", "deflate, gzip", "nonsense"], "accept": ["text/html", "*/*;q=nan", ""],
    "accept-encoding": ["gzip", "identity;q=0"], "expect": ["200-maybe"], "te": ["trailers"], "range": ["bytes=0-5"],
    "idempotency-key": ["\x7f", "a" * 300], "x-stainless-timeout": ["-1", "nan", "9" * 400], "x-understudy-hops": ["-1", "9" * 40],
    "x-understudy-force": ["teacher", "nobody"], "cache-control": ["max-age=nan", "no-store, max-age=-1"],
    "x-request-id": ["a b", "x" * 9000], "openai-organization": ["org"], "openai-beta": ["assistants=v2"], "via": ["1.1 x"],
    "x-portkey-config": ['{"retry": {}}'], "x-api-key": ["other"], "traceparent": ["00-zz"], "content-type": ["text/plain", "application/json; charset=utf-7"],
    "if-none-match": ["*"], "x-http-method-override": ["DELETE"], "forwarded": ["for=1.2.3.4"], "cookie": ["a=b; a=c"],
}  # fmt: skip


async def test_row_15_no_combination_of_headers_is_an_error_of_our_own(start: Start, first: Provider) -> None:
    rng = random.Random(15)
    async with start({"first": first.url}) as (_, client):
        for _ in range(150):
            names = rng.sample(sorted(ODD_HEADERS), rng.randint(1, 6))
            headers = {name: rng.choice(ODD_HEADERS[name]) for name in names}
            answer = await client.post("/v1/chat/completions", json=BODY, headers=headers)
            told = answer.json()
            assert answer.status_code < 500 or told["error"]["code"] == "loop_detected", (headers, answer.text)
            assert "choices" in told or told["error"]["message"]


async def test_row_17_who_says_to_be_somebody_else_is_counted_all_the_same(start: Start, first: Provider) -> None:
    async with start({"first": first.url}) as (_, client):
        codes = []
        for number in range(60):
            spoofed = {"x-forwarded-for": f"10.0.0.{number}", "forwarded": f"for=10.0.0.{number}", "x-real-ip": f"10.0.0.{number}"}
            codes.append((await client.post("/admin/login", json={"key": "wrong"}, headers=spoofed)).status_code)
    assert codes[:5] == [401] * 5 and set(codes[5:]) == {429}


async def test_row_19_nothing_of_another_project_exists(tmp_path: Path, first: Provider) -> None:
    policies = write_policies(tmp_path / "policies", {"first": first.url})
    main = policies / "gateway.yaml"
    own = f"keys: [{{name: tests, key: {KEY}, project: default}}"
    main.write_text(main.read_text().replace(own, f"{own}, {{name: foreign, key: {FOREIGN}, project: elsewhere}}"))
    async with gateway(tmp_path, policies) as served, httpx.AsyncClient(base_url=served.url, timeout=30) as http:
        mine, theirs = ({"authorization": f"Bearer {key}"} for key in (KEY, FOREIGN))

        async def made(path: str, **sent: Any) -> str:
            answer = await http.post(path, headers=mine, **sent)
            assert answer.status_code == 200, answer.text
            return str(answer.json()["id"])

        line = json.dumps({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": BODY})
        file = await made("/v1/files", files={"purpose": (None, "batch"), "file": ("a.jsonl", line)})
        places = {
            f"/v1/files/{file}", f"/v1/files/{file}/content",
            f"/v1/responses/{await made('/v1/responses', json={'model': 'triage', 'input': 'hi'})}",
            f"/v1/chat/completions/{await made('/v1/chat/completions', json={**BODY, 'store': True})}",
            f"/v1/conversations/{await made('/v1/conversations', json={'metadata': {'a': 'b'}})}",
        }  # fmt: skip
        order = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        assert (await http.post("/v1/batches", headers=theirs, json=order)).status_code in (400, 404)
        batch = await made("/v1/batches", json=order)
        places.add(f"/v1/batches/{batch}")
        for place in sorted(places):
            assert (await http.get(place, headers=mine)).status_code == 200, place
            for method in ("GET", "DELETE"):
                answer = await http.request(method, place, headers=theirs)
                assert answer.status_code in (404, 405), (method, place, answer.text)
        assert (await http.post(f"/v1/batches/{batch}/cancel", headers=theirs)).status_code == 404
        for place in ("/v1/files", "/v1/batches", "/v1/chat/completions"):
            assert (await http.get(place, headers=theirs)).json()["data"] == []
        for place in sorted(places):
            assert (await http.get(place, headers=mine)).status_code == 200, place  # nothing of it is gone


@pytest.mark.parametrize("name", ["../files", "..%2ffiles", "m/../../files", "m?key=1", "m#x", "m%00", "m\\..\\files"])
async def test_row_21_a_model_leads_to_no_other_path(tmp_path: Path, first: Provider, name: str) -> None:
    folder = write_policies(tmp_path / "policies", {"first": first.url})
    main = folder / "gateway.yaml"
    origin = first.url.removesuffix("/v1")
    main.write_text(main.read_text().replace("providers:\n", f'providers:\n  g: {{type: gemini, base_url: "{origin}/v1beta", api_key: k}}\n', 1))
    async with gateway(tmp_path, folder) as served, httpx.AsyncClient(
        base_url=served.url, headers={"authorization": f"Bearer {KEY}"}, timeout=30
    ) as client:  # fmt: skip
        for provider_name in ("first", "g"):
            answer = await ask(client, model=f"{provider_name}/{name}")
            assert answer.status_code < 500 or answer.json()["error"]["code"], answer.text
        for place in (f"/v1/{kind}/{quote(name, safe='')}" for kind in ("batches", "files", "responses")):
            assert (await client.get(place)).status_code in (400, 404, 405)
    paths = {one.path for one in first.seen}
    assert all(re.fullmatch(r"/v1/chat/completions|/v1beta/models/[^/?#]+:generateContent", path) for path in paths), paths


async def test_row_31_texts_pass_byte_for_byte_and_tools_are_not_called(start: Start, first: Provider) -> None:
    text = "".join(map(chr, [*range(0x20, 0x7F), 0xA0, 0x200B, 0x202E, 0x1F600, 0xFEFF, 0x0301])) + "\n\t\\u0041 </script>"
    call = {"id": "1", "type": "function", "function": {"name": "delete_everything", "arguments": '{"now": "x"}'}}

    async def act(line: Line) -> None:
        message = {"role": "assistant", "content": text, "tool_calls": [call]}
        await line.answer(body={**COMPLETION, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})

    def digest(said: str) -> str:
        return hashlib.sha256(said.encode()).hexdigest()

    first.behave = act
    async with start({"first": first.url}) as (_, client):
        answer = await ask(client, messages=[{"role": "user", "content": text}])
    message = answer.json()["choices"][0]["message"]
    assert digest(first.seen[0].body["messages"][0]["content"]) == digest(message["content"]) == digest(text)
    assert message["tool_calls"] == [call] and len(first.seen) == 1


async def test_row_33_who_steals_the_data_directory_has_no_key_and_no_text(start: Start, first: Provider) -> None:
    secret = "my-canary-4711-of-which-nobody-knows"
    async with start({"first": first.url}) as (served, client):
        for _ in range(3):
            assert (await ask(client, messages=[{"role": "user", "content": secret}])).status_code == 200
        await asyncio.sleep(0.2)
        files = [path for path in served.home.root.rglob("*") if path.is_file()]
        assert any(path.parent.name == "spool" for path in files)
        for path in files:
            held = path.read_bytes()
            assert path.stat().st_mode & 0o077 == 0, path
            for one in (secret, KEY, ADMIN, "sk-upstream-secret"):
                assert one.encode() not in held, (path, one)


async def test_row_34_a_stranger_learns_neither_name_nor_version(start: Start, first: Provider) -> None:
    async with start({"first": first.url}) as (_, client):
        for place in ("/healthz", "/readyz", "/v1/models", "/metrics", "/docs", "/schema/openapi.json", "/openapi.json", "/"):
            answer = await client.get(place, headers={"authorization": ""})
            assert not {"server", "x-powered-by", "via"} & set(answer.headers), place
            assert "understudy" not in answer.text.lower() and not re.search(r"\d+\.\d+\.\d+", answer.text), answer.text
            assert answer.status_code in ((200,) if place in ("/healthz", "/readyz") else (401, 404)), place
