"""The gateway as a process of its own: where it may listen, and what its log keeps to itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from free_ports import free_port
from gateway_server import ADMIN, KEY, write_policies

from gateway.access.keys import secrets_of
from gateway.config import Alerts, Config, LimitRules, YamlKey
from gateway.providers import BedrockProvider, OpenAIProvider
from gateway.storage.home import Home
from gateway.storage.migrations import migrate

PROVIDER_KEY, ROTATED = "quartz-violin-harbour-0917", "meadow-copper-lantern-5521"


def command(policies: Path, home: Path, *more: str) -> list[str]:
    paths = ["--policies", str(policies), "--home", str(home)]
    return [sys.executable, "-m", "gateway.server", *paths, *more]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    return kept | more


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_an_address_on_the_command_line_is_held_to_the_same_rule(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "policies", {"first": "http://127.0.0.1:9"})
    told = subprocess.run(
        command(policies, tmp_path / "home", "--host", "0.0.0.0", "--port", "0"),
        env=environment(), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert told.returncode == 1
    assert "'0.0.0.0' can be reached from other machines" in told.stderr
    assert "server.behind_tls: true" in told.stderr and "UNDERSTUDY_ADMIN_KEY" in told.stderr
    assert not (tmp_path / "home").exists()  # nothing was begun


def test_a_provider_key_never_appears_in_the_log(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "policies", {"first": "http://127.0.0.1:9"})
    main, log = policies / "gateway.yaml", tmp_path / "log"
    good = main.read_text().replace("sk-upstream-secret", PROVIDER_KEY)
    main.write_text(good)
    migrate(Home(tmp_path / "home").prepare().database_url)
    port = free_port()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command(policies, tmp_path / "home", "--port", str(port)),
            env=environment(UNDERSTUDY_ADMIN_KEY=ADMIN), stderr=out, stdout=out,
        )  # fmt: skip
    try:
        until(lambda: ready(port), "not ready")
        rotated = good.replace(PROVIDER_KEY, ROTATED)
        main.write_text(rotated)
        until(lambda: "The policies have changed: digest" in log.read_text(), "not reloaded")
        # A key in the wrong place is the mistake that would show it: what was refused is quoted in the log.
        wrong = f'type: openai, profile: "{PROVIDER_KEY} {ROTATED}"'
        main.write_text(rotated.replace("type: openai", wrong))
        until(lambda: "there is no vendor profile" in log.read_text(), "the mistake is not told")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    text = log.read_text()
    assert PROVIDER_KEY not in text and ROTATED not in text and KEY not in text
    assert "there is no vendor profile '[redacted] [redacted]'" in text


def ready(port: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    return False


def test_what_counts_as_a_secret() -> None:
    config = Config(
        providers={
            "a": OpenAIProvider(api_key="one"),
            "b": BedrockProvider(region="us-east-1", secret_access_key="two", session_token="three"),
        },
        keys=[YamlKey(name="k", key="four")],
        limits=LimitRules(alerts=Alerts(secret="five")),
    )
    assert secrets_of(config) == {"one", "two", "three", "four", "five"}
    assert secrets_of(Config()) == set()
