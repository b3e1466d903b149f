"""Short of memory: large requests are shed first, small ones are served, and no lesson begins."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway
from rough import Start
from scripted import Provider

from gateway.processes.memory_share import memory_bound, memory_share
from gateway.resilience.pressure import Pressure

SMALL = {"model": "triage", "messages": [{"role": "user", "content": "hello"}]}
LARGE = {"model": "triage", "messages": [{"role": "user", "content": "hello " * 20_000}]}


def groups(root: Path, at: str, files: dict[str, str]) -> None:
    folder = root / at
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")


def own(root: Path, group: str = "0::/") -> Path:
    folder = root / "self"
    folder.mkdir(exist_ok=True)
    (folder / "cgroup").write_text(group + "\n")
    (folder / "statm").write_text("1000 10 10 1 0 10 0\n")
    return folder


def test_the_tightest_group_counts_without_what_files_hold(tmp_path: Path) -> None:
    stat = "anon 1\ninactive_file 300\nactive_file 150\nslab_reclaimable 50"
    groups(tmp_path / "fs", "a", {"memory.max": "4000", "memory.current": "2500", "memory.stat": stat})
    groups(tmp_path / "fs", "a/b", {"memory.max": "max", "memory.current": "9000"})
    assert memory_share(tmp_path / "fs", own(tmp_path, "0::/a/b")) == 0.5
    assert memory_bound(tmp_path / "fs", own(tmp_path, "0::/a/b")) == 4000
    groups(tmp_path / "fs", "a/b", {"memory.max": "1000", "memory.current": "900", "memory.stat": "inactive_file 0"})
    assert memory_share(tmp_path / "fs", own(tmp_path, "0::/a/b")) == 0.9


def test_the_older_groups_are_read_and_no_bound_is_none(tmp_path: Path) -> None:
    assert memory_share(tmp_path / "nothing", tmp_path / "nobody") is None
    groups(tmp_path / "fs", "memory", {"memory.limit_in_bytes": "9223372036854771712", "memory.usage_in_bytes": "5"})
    assert memory_share(tmp_path / "fs", own(tmp_path)) is memory_bound(tmp_path / "fs", own(tmp_path)) is None
    told = {"memory.limit_in_bytes": "1000", "memory.usage_in_bytes": "950", "memory.stat": "total_inactive_file 60\ntotal_active_file 40"}
    groups(tmp_path / "fs", "memory", told)
    assert memory_share(tmp_path / "fs", own(tmp_path)) == 0.85
    assert memory_bound(tmp_path / "fs", own(tmp_path)) == 1000


def test_a_bounded_address_space_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.getpagesize() * 2000, -1))
    assert memory_share(tmp_path, own(tmp_path)) == 0.5


def test_it_is_over_when_enough_was_given_back(caplog: pytest.LogCaptureFixture) -> None:
    shares = iter([0.5, 0.81, 0.79, 0.76, 0.74, None])
    pressure = Pressure(lambda: next(shares))
    told = []
    for _ in range(6):
        pressure.measure()
        told.append(pressure.short)
    assert told == [False, True, True, True, False, False]
    assert [line.split(" (")[0] for line in caplog.messages] == [
        "memory is short: large requests are refused", "memory is enough again",
    ]  # fmt: skip


@pytest.fixture
async def served(start: Start, first: Provider) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    async with start({"first": first.url}) as made:
        yield made


def share(gateway: Gateway, value: float) -> None:
    pressure: Pressure = gateway.app.pressure  # type: ignore[attr-defined]
    pressure._look = lambda: value
    pressure.measure()


async def test_row_52_large_requests_are_shed_and_small_ones_served(
    served: tuple[Gateway, httpx.AsyncClient], first: Provider
) -> None:
    gateway, client = served
    assert (await client.post("/v1/chat/completions", json=LARGE)).status_code == 200
    asked = len(first.seen)
    share(gateway, 0.9)
    shed = await client.post("/v1/chat/completions", json=LARGE)
    assert (shed.status_code, shed.json()["error"]["code"]) == (503, "short_of_memory")
    assert shed.headers["retry-after"] == "5"
    assert len(first.seen) == asked
    for _ in range(3):  # also behind the same head, byte for byte
        assert (await client.post("/v1/chat/completions", json=SMALL)).status_code == 200
        assert (await client.post("/v1/chat/completions", json=LARGE)).status_code == 503

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model": "triage", "messages": []}'

    assert (await client.post("/v1/chat/completions", content=pieces())).status_code == 503
    file = {"file": ("a.jsonl", b"{}\n" * 50_000)}
    assert (await client.post("/v1/files", files=file, data={"purpose": "batch"})).status_code == 503
    page = await client.get("/metrics")
    assert page.status_code == 200 and "understudy_memory_share 0.9" in page.text
    share(gateway, 0.5)
    assert (await client.post("/v1/chat/completions", json=LARGE)).status_code == 200


async def test_row_52_an_sdk_gets_through_when_it_is_over(served: tuple[Gateway, httpx.AsyncClient]) -> None:
    gateway, _ = served
    share(gateway, 0.9)
    sdk = openai.AsyncOpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0)
    with pytest.raises(openai.InternalServerError) as told:
        await sdk.chat.completions.create(**LARGE)  # type: ignore[call-overload]
    assert told.value.code == "short_of_memory"
    share(gateway, 0.5)
    assert (await sdk.chat.completions.create(**LARGE)).choices  # type: ignore[call-overload]
    await sdk.close()
