"""Earlier answers out of an account that speaks OpenAI's API: our own gateway plays it, and a scripted one that breaks."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_server import KEY, gateway, write_policies
from scripted import COMPLETION, Line, Provider, provider

from gateway.importing.account import Account, AccountRefused
from gateway.importing.load import Loader, place_of
from gateway.policy.files import load
from gateway.storage.home import Home
from gateway.storage.migrations import migrate
from gateway.storage.reading.reader import open_reader
from gateway.storage.writing.writers import open_writer

sys.path.append(str(Path(__file__).resolve().parents[1] / "trainer"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "storage"))
from lesson_home import policies
from storage_samples import environment


def chat(text: str, answer: str) -> bytes:
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns}).encode() + b"\n"


async def fill(client: openai.AsyncOpenAI) -> None:
    """Three stored completions, a training file with a job, and a batch that has run."""
    for text in ("the first matter", "a second question", "some third trouble"):
        await client.chat.completions.create(
            model="triage", store=True, metadata={"n": "1"}, messages=[{"role": "user", "content": text}]
        )
    rows = b"".join(chat(f"row {word}", "label") for word in ("one", "two", "three", "four"))
    await client.files.create(file=("rows.jsonl", rows), purpose="fine-tune")
    body = {"model": "triage", "messages": [{"role": "user", "content": "asked in a batch"}]}
    line = {"custom_id": "x", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = await client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    while (await client.batches.retrieve(batch.id)).status != "completed":
        await asyncio.sleep(0.1)


async def test_an_account_is_read_with_the_stock_client_and_only_once(tmp_path: Path) -> None:
    home = Home((tmp_path / "ours").resolve()).prepare()
    command = [sys.executable, "-m", "gateway.cli", "import", "openai", "--task", "triage", "--project", "p", "--json"]
    command += ["--home", str(home.root), "--policies", str(policies(tmp_path / "mine"))]

    async def told() -> dict[str, dict[str, Any]]:
        done = await asyncio.to_thread(
            subprocess.run, command, env=environment(OPENAI_API_KEY=KEY), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return {one["source"]: one for one in json.loads(done.stdout)}

    async with provider() as upstream:
        theirs = write_policies(tmp_path / "theirs", {"big": upstream.url})
        async with gateway(tmp_path / "account", theirs) as account:
            command += ["--base-url", account.base_url]
            async with openai.AsyncOpenAI(base_url=account.base_url, api_key=KEY) as client:
                await fill(client)
            first, second = await told(), await told()
    kinds = [kind for report in first.values() for kind in report["kinds"]]
    assert sorted(kinds) == ["batch output", "chat", "stored completion"]
    assert sum(report["new"] for report in first.values()) == 3 + 4 + 1
    assert sum(report["new"] for report in second.values()) == 0
    reader = open_reader(home)
    (version,) = reader.task_versions()
    calls = reader.training_calls("p", "triage", version.fingerprint, limit=99)
    assert {"the first matter", "row four", "asked in a batch"} <= {call.text for call in calls}
    assert all(call.source.startswith("import:openai:") for call in calls)
    stored = next(call for call in calls if call.text == "the first matter")
    assert (stored.answer, stored.metadata) == ("hello", {"n": "1"})
    reader.close()


async def test_a_run_that_broke_goes_on_where_it_was(tmp_path: Path) -> None:
    home = Home((tmp_path / "home").resolve()).prepare()
    migrate(home.database_url)
    config = load(policies(tmp_path / "policies"), {})
    reader, writer = open_reader(home), open_writer(home)

    def read_all(upstream: Provider) -> int:
        loader = Loader(place_of(config, reader, "p", "triage"), reader, writer.execute, time.time)
        account = Account(upstream.url, "sk-secret-of-the-account", loader, home.root / "imports", dry=False)
        account._client = account._client.with_options(max_retries=0)
        try:
            return account.stored_completions(None, {}).new
        finally:
            account.close()

    broken = True

    async def behave(line: Line) -> None:
        path = line.seen.path
        if path.endswith("/messages") or "/messages?" in path:
            place = path.split("/")[-2]
            message = {"id": f"{place}-0", "role": "user", "content": f"question {'abc'[int(place[-1])] * 5}"}
            await line.answer(200, {"object": "list", "data": [message], "has_more": False})
            return
        later = "after=c1" in path
        if later and broken:
            error = {"message": "the key sk-secret-of-the-account is over its limit", "type": "x", "code": None}
            await line.answer(500, {"error": error})
            return
        names = ["c2"] if later else ["c0", "c1"]
        data = [{**COMPLETION, "id": name, "metadata": {}} for name in names]
        page = {"object": "list", "data": data, "has_more": not later, "first_id": names[0], "last_id": names[-1]}
        await line.answer(200, page)

    async with provider() as upstream:
        upstream.behave = behave
        with pytest.raises(AccountRefused, match="status 500"):
            await asyncio.to_thread(read_all, upstream)
        assert len(reader.completions("p", model=None, metadata={}, after=None, limit=9, descending=False)) == 2
        broken, asked = False, len(upstream.seen)
        assert await asyncio.to_thread(read_all, upstream) == 1
        assert "after=c1" in upstream.seen[asked].path
    reader.close()
    writer.close()
