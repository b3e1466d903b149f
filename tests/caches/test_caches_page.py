"""docs/caches.md: its worked example is taken from the page and run, with clocks that are moved by hand."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from gateway_server import write_policies
from small_fakes import ALICE, exchange_of, read, runtime_of, texts, whole

from gateway.caching.entries import Purge
from gateway.caching.refreshing import Refresher
from gateway.caching.semantic import Semantic
from gateway.context import Principal
from gateway.pipeline import fold
from gateway.policy.files import load
from gateway.stages.cache import Cache
from gateway.storage.answers import MemoryAnswers

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "caches.md").read_text()
SECTION = PAGE[PAGE.index("## A worked example") :]
KINDS = ["password", "invoice", "parcel", "refund", "warranty", "coupon", "receipt", "account"]
WAYS = ["how do I reset my {}", "how can I reset my {} please", "please how do I reset my {}", "how do I reset the {}"]


def tables() -> list[list[list[str]]]:
    """The example's tables, without their heads."""
    blocks = re.findall(r"(?:^\|.*\n)+", SECTION, re.MULTILINE)
    return [[[cell.strip() for cell in row.strip("|").split("|")] for row in block.splitlines()[2:]] for block in blocks]


class House:
    """Both caches under the page's policies, before a teacher that numbers its answers or tells a question's kind."""

    def __init__(self, folder: Path) -> None:
        policies = write_policies(folder, {"first": "http://127.0.0.1:9/v1"})
        (text,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
        settings, _, tasks = text.partition("tasks:\n")
        gateway, routing = policies / "gateway.yaml", policies / "routing.yaml"
        gateway.write_text(gateway.read_text() + settings)
        routing.write_text(f"tasks:\n{tasks}")
        self.view = runtime_of(load(policies, {}))
        self.time, self.asked = 9 * 3600.0, 0
        self.semantic = Semantic(random.Random(1), lambda: self.time)
        self.refresher = Refresher(lambda: "chatcmpl-again", lambda: self.time)
        self.cache = Cache(MemoryAnswers(), lambda: self.time, semantic=self.semantic, refresher=self.refresher)
        self.refresher.pipeline = fold([self.cache], self.teacher)

    async def teacher(self, exchange: Any) -> Any:
        self.asked += 1
        said = exchange.request.messages[-1].content
        kind = next((one for one in KINDS if one in said), said)
        answer = f"about {kind}" if exchange.request.model == "help" else str(self.asked)
        return texts(answer) if exchange.request.streamed else whole(answer)

    async def ask(
        self, model: str, text: str, body: dict[str, Any] | None = None, principal: Principal = ALICE, **headers: str
    ) -> tuple[str, str]:
        exchange = exchange_of(
            self.view, {"model": model, **(body or {})}, text=text, principal=principal,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )  # fmt: skip
        exchange.received_at, exchange.deadline = 1.7e9 + self.time, self.time + 60
        answer: Any = await self.cache(exchange, self.teacher)
        said = await read(answer) if exchange.request.streamed else answer.text
        await self.refresher.settled()
        return exchange.cache, said


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "policies")


async def test_a_day_of_the_exact_cache(house: House) -> None:
    day = tables()[0]
    assert len(day) >= 8
    for at, what, header, said in day:
        hours, minutes = at.split(":")
        house.time = int(hours) * 3600.0 + int(minutes) * 60
        body: dict[str, Any] = {"temperature": 0}
        headers: dict[str, str] = {}
        for quoted in re.findall(r"`([^`]+)`", what):
            if quoted.startswith('"'):
                body |= json.loads(f"{{{quoted}}}")
            elif quoted.startswith("understudy cache purge"):
                task = quoted.split("--task ")[1].split()[0]
                assert await house.cache.exact.purge(Purge(task=task)) > 0
            else:
                name, _, value = quoted.partition(": ")
                headers[name.replace("-", "_")] = value
        project = "others" if "another project" in what else "p1"
        who = Principal("key_other" if "another key" in what else ALICE.key_id, project)
        assert await house.ask("triage", "classify: my parcel is late", body, who, **headers) == (
            header.strip("`"), said,
        ), (at, what)  # fmt: skip


async def test_questions_that_mean_the_same(house: House) -> None:
    rng = random.Random(4)
    for number in range(2000):
        house.time += 0.01
        await house.ask(
            "help", f"{rng.choice(WAYS).format(rng.choice(KINDS))} {''.join(rng.choices('bcdfg', k=6))}"
        )
        if number % 50 == 0:
            await house.semantic.settled()
            if any(one.open for one in house.semantic.standings()):
                break
    else:
        pytest.fail(f"never opened: {house.semantic.standings()}")
    (standing,) = house.semantic.standings()
    assert 300 <= standing.proposals < 1000 and standing.delta == 0.02
    questions = tables()[1]
    assert len(questions) >= 3
    house.semantic._rng = random.Random(0)  # the next proposal is not among those that are asked all the same
    for question, header in questions:
        assert await house.ask("help", question) == (header, "about password"), question
