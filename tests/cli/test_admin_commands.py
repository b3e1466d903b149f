"""``understudy admin``, and commands that log in where the admin page asks for a second factor."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from gateway_server import ADMIN, gateway, write_policies

from gateway.access.second_factor import VARIABLE, new_secret, secret_in
from gateway.cli import main
from gateway.storage.home import Home


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
