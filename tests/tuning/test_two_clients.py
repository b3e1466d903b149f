"""The loop with two unmodified ``openai`` clients far apart: both go the whole way and see the same."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import msgspec
import pytest
from gateway_server import KEY, gateway
from scripted import provider
from test_webhooks import SECRET, webhooks
from tuning_parts import policies, tickets
from webhook_receiver import receiver

from gateway.storage.data_values import AddEvent
from gateway.storage.writing.writers import open_writer

sys.path.append(str(Path(__file__).resolve().parents[1] / "trainer"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "clients"))
from clients_helpers import absent
from lesson_home import captured, store_records

PROGRAM = Path(__file__).resolve().parents[1] / "clients" / "programs" / "openai_loop.py"
OLD = os.environ.get("UNDERSTUDY_OLD_OPENAI", "")
SEEN = {
    "stored": {
        "odd": True,
        "label": [{"n": "1", "feedback.score": "0.2"}] * 2,
        "asked": True,
        "deleted": [True, False, 5],
    },
    "files": {"listed": True, "same": True, "status": "processed"},
    "graders": ["multi", 1.0, {"same": 1.0, "near": 1.0}, 0.0, True, "grader.type"],
    "jobs": {
        "cancelled": ["cancelled", "cancelled"], "dpo": [True, "dpo", 0.2], "by_metadata": True, "all": 4,
        "resumed": True, "status": ["succeeded", "succeeded"], "error": [None, None],
        "events": ["It was paused.", "It was resumed."], "checkpoint": True, "metrics": True, "served": ["billing", "billing"],
        "dataset": True, "model_deleted": True,
    },
    "evals": {
        "named": ["kept out", True], "taught": ["completed", True, 0], "asked": ["completed", 3, 3],
        "items": [3, "fail", False], "runs": 2, "gone": [True, True],
    },
    "webhook": ["batch.completed", "batch_1"],
}  # fmt: skip
MORE = """
  - name: tickets
    candidates: [{{provider: teacher, model: m}}]
    teacher: {{provider: teacher, model: m, may_train_on_outputs: true}}
    capture: {{rate: 1.0}}
fine_tuning: {{bases: {{tiny: {{base: "{base}"}}}}}}
{hooks}
"""


@pytest.mark.parametrize("version", ["newest", "3.3.1"])
async def test_the_stock_client_drives_the_whole_loop(root: Path, processes_of, version: str) -> None:
    if version != "newest" and not OLD:
        absent("UNDERSTUDY_OLD_OPENAI names no folder with openai 3.3.1")
    async with receiver() as (url, got), provider() as upstream:
        base = str(root / "a-model")
        folder = policies(root / "policies", MORE.format(base=base, hooks=webhooks(url)))
        text = (folder / "all.yaml").read_text().replace("http://127.0.0.1:9/v1", upstream.url)
        (folder / "all.yaml").write_text(text)
        async with gateway(root, folder) as served:
            calls = [captured(number, *pair, at=time.time()) for number, pair in enumerate(tickets(200))]
            mine = {"project": "default", "task": "tickets", "model_asked": "tickets"}
            store_records(served.home, [msgspec.structs.replace(call, **mine) for call in calls])
            writer = open_writer(served.home)
            await asyncio.to_thread(
                writer.execute, AddEvent("default", "batch.completed", "batch_1", time.time())
            )
            writer.close()
            while not got:
                await asyncio.sleep(0.05)
            hook = {"body": got[0][0].decode(), "headers": got[0][1], "secret": SECRET}
            modules = ("trainer.worker", "trainer.engines.classifier")
            with processes_of(served, *modules):
                running = await asyncio.create_subprocess_exec(
                    sys.executable, str(PROGRAM), served.base_url, KEY, base, json.dumps(hook),
                    stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                    env={**os.environ, **({"PYTHONPATH": OLD} if version != "newest" else {})},
                )  # fmt: skip
                out, problems = await asyncio.wait_for(running.communicate(), 180)
                assert running.returncode == 0, problems.decode()
    told = json.loads(out)
    found = told.pop("version")
    assert found == version or (version == "newest" and found != "3.3.1")
    assert told == SEEN
