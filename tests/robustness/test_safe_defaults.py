"""Safe out of the box: what holds when the policies say nothing. docs/security.md names the test of each promise."""

from __future__ import annotations

import os
import re
import typing
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec import structs
from rough import Start, ask
from scripted import Line, Provider

from gateway.cli import parser
from gateway.commands.keys import DAY_S, make_key
from gateway.commands.start import LOWEST_PRIORITY, tree
from gateway.config import Config, Task
from gateway.config.learning import CanaryRules, Capture, Learn
from gateway.config.serving import Retries, Server, Spool, Timeouts, UpstreamRules
from gateway.guardrails import GuardrailSettings
from gateway.policy.door_checks import bind_problem
from gateway.resilience.connections import Bounds
from gateway.storage.engine import read_engine, write_engine
from gateway.storage.home import Home
from gateway.storage.migrations import migrate
from gateway.upstreams.reply import LARGEST_ANSWER

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024


def test_every_promise_has_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "security.md").read_text().split("## Safe out of the box")[1].split("\n## ")[0]
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) >= 25
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row)
        assert named, row
        for path, name in named:
            file = ROOT / path
            assert file.exists() and (not name or f"def {name}(" in file.read_text()), (row, path, name)


def test_the_door_is_loopback_and_bounded() -> None:
    server = Config().server
    assert server == Server() and (server.host, server.allowed_hosts, server.behind_tls) == (
        "127.0.0.1",
        [],
        False,
    )
    assert (server.max_body_bytes, server.header_timeout_s, server.body_timeout_s) == (16 * MIB, 10.0, 30.0)
    assert (server.write_idle_s, server.max_connections, server.max_connections_per_address) == (
        60.0,
        1000,
        100,
    )
    assert Bounds() == Bounds(server.header_timeout_s, server.write_idle_s, 1000, 100)


def test_a_public_address_needs_a_strong_key_and_a_word_about_tls() -> None:
    why, hint = bind_problem(Server(host="0.0.0.0"), {}, "0.0.0.0")
    assert why and "UNDERSTUDY_ADMIN_KEY" in hint and "behind_tls" in hint
    assert bind_problem(Server(), {}, "127.0.0.1")[0] == ""


def test_every_call_to_a_provider_is_bounded() -> None:
    config = Config()
    assert config.timeouts == Timeouts(connect=5.0, first_byte=60.0, chunk_gap=60.0, total=600.0)
    assert config.retries == Retries(attempts=3, budget_share=0.1) and LARGEST_ANSWER == 32 * MIB
    assert config.upstreams == {} and UpstreamRules() == UpstreamRules(
        max_concurrent=512, private_addresses=False
    )


async def heard(line: Line) -> None:
    await line.answer(200, {"text": "hello"})


async def test_proxies_of_the_environment_are_not_asked(
    start: Start, first: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that somebody left in the environment would see every prompt and every provider's key."""
    async with start({"first": first.url}) as (
        _,
        client,
    ):  # our own client was made before, and asks no proxy either
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        assert (await ask(client)).status_code == 200
        first.behave = heard
        upload = {"file": ("a.wav", b"RIFF", "audio/wav")}  # sent as it is read, over the other client
        answer = await client.post("/v1/audio/transcriptions", files=upload, data={"model": "first/m"})
        assert answer.status_code == 200, answer.text
    assert [seen.path for seen in first.seen] == ["/v1/chat/completions", "/v1/audio/transcriptions"]


def test_a_key_is_for_inference_and_ends_after_a_year() -> None:
    said = ["keys", "create", "--name", "app", "--rpm", "60", "--tpm", "unlimited", "--concurrency", "4"]
    options = parser().parse_args([*said, "--budget-usd-day", "5", "--budget-usd-month", "unlimited"])
    key, text = make_key(options, 1_000.0)
    assert key.scopes == ("inference",) and key.expires_at == 1_000.0 + 365 * DAY_S
    assert text.startswith("sk-us-") and text not in repr(key)


async def test_nothing_is_kept_of_a_text_until_capture_is_on(
    start: Start, first: Provider, tmp_path: Path
) -> None:
    extra = "  - name: silent\n    candidates: [{provider: first, model: m}]\n"
    async with start({"first": first.url}, extra) as (served, client):
        said = [{"role": "user", "content": "the secret of the pyramid"}]
        for model in ("silent", "first/m"):
            answer = await client.post("/v1/chat/completions", json={"model": model, "messages": said})
            assert answer.status_code == 200
        records = served.records()
    assert len(records) == 2 and all(one.text is None for one in records)  # type: ignore[attr-defined]
    for path in (tmp_path / "home").rglob("*"):
        if path.is_file():
            assert b"pyramid" not in path.read_bytes(), path
    assert Capture() == Capture(mask=True, retention_days=30, logprobs=0)


def test_nothing_is_learnt_cached_or_hedged_until_a_task_says_so() -> None:
    task, config = Task(name="t", candidates=[]), Config()
    assert (task.capture, task.learn, task.semantic_cache) == (None, None, None)
    assert not config.cache.enabled and config.discover is None and config.guardrails == {}
    assert Learn().approval == "manual" and CanaryRules().share == 0.05
    assert Spool().ack == "written"


@pytest.mark.parametrize("kind", typing.get_args(GuardrailSettings))
def test_every_guardrail_fails_closed(kind: type) -> None:
    fields = {field.name: field.default for field in structs.fields(kind)}
    assert fields["on_error"] == "block" and fields["shadow"] is False


def test_the_database_is_private_durable_and_forgets(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    migrate(home.database_url)
    writer, reader = write_engine(home.database_url), read_engine(home.database_url)

    def said(engine: sa.Engine, *names: str) -> list[object]:
        with engine.connect() as connection:
            return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    wal, full, on = "wal", 2, 1
    names = ("journal_mode", "synchronous", "foreign_keys", "trusted_schema", "secure_delete", "mmap_size")
    assert said(writer, *names) == [wal, full, on, 0, on, 0]
    assert said(reader, "query_only", "trusted_schema", "wal_autocheckpoint") == [on, 0, 0]
    writer.dispose()
    reader.dispose()
    for path in (tmp_path / "home").rglob("*"):
        assert not path.stat().st_mode & 0o077, path


def test_the_trainer_is_a_process_of_its_own_and_the_nicest(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    parts = {part.name: part for part in tree(Config(), home, ROOT / "policies", "127.0.0.1", 8080, {}, 1)}
    assert parts["trainer"].nice == LOWEST_PRIORITY == 19 and parts["gateway"].nice == 0
    assert "trainer.worker" in parts["trainer"].command
    assert os.fspath(home.root) in parts["trainer"].command
