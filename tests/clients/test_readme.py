"""The README's lines for each client, run as they stand but for the address and the key."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path

import pytest
from clients_helpers import HERE, absent, chunked, completion, node
from gateway_server import KEY, Gateway
from scripted import Line, Provider

README = Path(__file__).parents[2] / "README.md"
SECTION = (
    README.read_text(encoding="utf-8").split("## Your client, with another address")[1].split("\n## ")[0]
)
SNIPPETS = {
    lines.split("\n")[0].strip("#/ "): (language, lines)
    for language, lines in re.findall(r"```(\w+)\n(.*?)```", SECTION, re.DOTALL)
}
BY_HAND = {"LangChain"}


async def answer(line: Line) -> None:
    if line.seen.body.get("stream"):
        await line.stream(chunked({"content": "hello"}))
    else:
        await line.answer(200, completion({"content": "hello"}))


@pytest.mark.parametrize("client", sorted(set(SNIPPETS) - BY_HAND))
async def test_the_readmes_lines(served: Gateway, upstream: Provider, client: str) -> None:
    upstream.behave = answer
    language, lines = SNIPPETS[client]
    lines = lines.replace("http://127.0.0.1:8080", served.url).replace("sk-us-…", KEY)
    lines = lines.replace("support-triage", "triage")
    if language == "js":
        command = [node(), "--input-type=module", "-e", lines]
    elif language == "sh":
        if not shutil.which("curl"):
            absent("needs curl")
        command = ["sh", "-c", lines]
    else:
        command = [sys.executable, "-c", lines]
    running = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=HERE / "node"
    )
    out, problems = await asyncio.wait_for(running.communicate(), 60)
    assert running.returncode == 0, problems.decode()
    assert "hello" in out.decode()


def test_at_least_five_clients_are_shown() -> None:
    assert len(SNIPPETS) >= 5 and set(SNIPPETS) > BY_HAND
