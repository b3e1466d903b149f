"""``understudy admin``, and commands that log in where the admin page asks for a second factor."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from gateway_server import ADMIN, gateway, write_policies

from gateway.access.second_factor import VARIABLE, new_secret, secret_in
from gateway.cli import main
from gateway.storage.home import Home


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own, and logging as it was: `serve` sets it up for a process of its own."""
    monkeypatch.setattr(logging.getLogger(), "handlers", list(logging.getLogger().handlers))
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    for name in ("UNDERSTUDY_DATABASE_URL", "UNDERSTUDY_ADMIN_KEY", VARIABLE):
        monkeypatch.delenv(name, raising=False)


def test_a_secret_is_shown_once_and_kept_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["admin", "totp", "--name", "gateway.example.com"]) == 0
    shown = capsys.readouterr().out.splitlines()
    secret = shown[2].removeprefix(f"{VARIABLE}=")
    assert secret_in({VARIABLE: secret}) is not None
    uri = urlsplit(shown[0])
    assert uri.path == "/Understudy:admin@gateway.example.com" and parse_qs(uri.query)["secret"] == [secret]
    assert not (tmp_path / "home").exists()
    assert main(["admin", "totp"]) == 0 and secret not in capsys.readouterr().out


@pytest.mark.parametrize("command", [["up"], ["serve"]])
def test_a_secret_that_is_none_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "hunter2hunter2")
    policies = write_policies(tmp_path / "policies", {"first": "http://127.0.0.1:1"})
    assert main([*command, "--policies", str(policies), "--port", "0"]) == 1
    told = capsys.readouterr().err
    assert "understudy admin totp" in told and "hunter2" not in told


async def test_a_command_makes_the_code_of_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policies, secret = write_policies(tmp_path / "policies", {"first": "http://127.0.0.1:1"}), new_secret()
    monkeypatch.setenv("UNDERSTUDY_ADMIN_KEY", ADMIN)
    async with gateway(tmp_path, policies, **{VARIABLE: secret}) as served:
        show = ["cache", "show", "--url", served.url]
        assert await asyncio.to_thread(main, show) == 1
        assert "the code is not right" in capsys.readouterr().err
        monkeypatch.setenv(VARIABLE, secret)
        assert await asyncio.to_thread(main, show) == 0
        assert "exact" in capsys.readouterr().out
    left = b"".join(path.read_bytes() for path in Home(tmp_path / "home").root.rglob("*") if path.is_file())
    assert secret.encode() not in left


async def test_a_command_shows_and_ends_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UNDERSTUDY_ADMIN_KEY", ADMIN)
    policies = write_policies(tmp_path / "policies", {"first": "http://127.0.0.1:1"})
    async with gateway(tmp_path, policies) as served, httpx.AsyncClient(base_url=served.url) as person:

        async def understudy(*words: str) -> tuple[int, str]:
            status = await asyncio.to_thread(main, ["admin", *words, "--url", served.url])
            told = capsys.readouterr()
            return status, told.out + told.err

        assert await understudy("sessions") == (0, "Nobody is logged in.\n")
        await person.post("/admin/login", json={"key": ADMIN}, headers={"user-agent": "somebodys/1.0"})
        status, text = await understudy("sessions")
        assert status == 0 and "127.0.0.1" in text and "somebodys/1.0" in text
        assert (await understudy("end", "0123456789abcdef", "--reason", "x"))[0] == 1
        assert (await understudy("end", "--reason", "x"))[0] == 1
        assert await understudy("end", text.split()[0], "--reason", "lost") == (0, "Ended: 1 session.\n")
        assert (await person.get("/admin/api/session")).status_code == 401
        assert await understudy("end", "--all", "--reason", "x") == (0, "Ended: 0 sessions.\n")
