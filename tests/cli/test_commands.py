"""The command line as a person meets it: real processes where it matters, exit statuses everywhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.access.keys import digest_of, well_formed
from gateway.cli import main, parser
from gateway.commands import start
from gateway.config import Engines, TransformersEngine, VllmEngine
from gateway.storage.commands import EnqueueRun
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.writing.writers import open_writer

ROOT = Path(__file__).resolve().parents[2]


def _subcommands(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    return {
        name: one
        for action in parser._actions
        if isinstance(action, _SubParsersAction)
        for name, one in action.choices.items()
    }


def _commands(parser: ArgumentParser, *before: str) -> Iterator[tuple[str, ...]]:
    for name, one in _subcommands(parser).items():
        yield (*before, name)
        yield from _commands(one, *before, name)


COMMANDS = list(_commands(parser()))


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(ROOT)
    for name in ("OPENAI_API_KEY", "UNDERSTUDY_DEV_KEY", "UNDERSTUDY_ADMIN_KEY", "UNDERSTUDY_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_examples_that_can_be_said(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "--home DIR" in text
    examples = [line.split("<")[0] for line in text.split("examples:")[1].splitlines() if line.strip()]
    assert any(line.split()[1:][: len(command)] == list(command) for line in examples)
    for line in examples:
        parser().parse_args(shlex.split(line)[1:])


def test_wrong_usage_has_its_own_status(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["nonsense"], ["up", "--port", "70000"], ["keys"], ["keys", "create"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    assert "'70000' is not a port number" in capsys.readouterr().err


@pytest.mark.parametrize(("said", "meant"), [
    ("train", "Did you mean 'trainer' or 'curate'?"), ("chek", "Did you mean 'check'"), ("keys delete", "Did you mean 'revoke'?"),
    ("runs lst", "Did you mean 'list'? See: understudy runs --help"), ("zzz", "'understudy zzz'. See: understudy --help"),
    ("\x1b[31m", "'understudy \\x1b[31m'."),
])  # fmt: skip
def test_an_unknown_command_names_the_nearest(said: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(said.split())
    told = capsys.readouterr().err
    assert ended.value.code == 2 and meant in told and told.count("\n") == 1


@pytest.mark.parametrize("command", [["curate", "triage"], ["discover"]], ids=" ".join)
def test_what_reads_the_policies_for_one_task_tells_its_own_and_no_warnings(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    places = ["--home", str(tmp_path / "home"), "--policies"]
    assert main([*command, *places, str(ROOT / "policies")]) == 1
    told = capfd.readouterr().err
    assert told.startswith("understudy: the policies do not say") and told.count("\n") == 1
    (tmp_path / "wrong.yaml").write_text("tasks: 3\n")
    assert main([*command, *places, str(tmp_path)]) == 1
    told = capfd.readouterr().err
    assert "wrong.yaml:1" in told and "Traceback" not in told


def test_help_is_fast_and_light() -> None:
    code = "import sys\ntry:\n    from gateway.cli import main; main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'msgspec', 'litestar', 'sqlalchemy', 'numpy', 'yaml'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_check_passes_the_shipped_policies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert "The policies are good" in capsys.readouterr().out


def test_check_fails_with_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "routing.yaml").write_text("tasks:\n  - {name: a, policy: b}\npolicies: []\n")
    assert main(["check", "--policies", str(folder)]) == 1
    assert main(["--policies", str(folder), "check"]) == 1
    error = capsys.readouterr().err
    assert "policies/routing.yaml:2: tasks[0].policy: no policy is named 'b'." in error
    assert "1 problem in the policies." in error
    assert main(["check", "--policies", str(tmp_path / "nowhere")]) == 1
    assert "there is no such folder" in capsys.readouterr().err


def test_up_refuses_bad_policies_and_open_doors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--policies", str(tmp_path / "nowhere")]) == 1
    for command in ("up", "serve"):
        assert main([command, "--host", "0.0.0.0"]) == 1
        assert "'0.0.0.0' can be reached from other machines" in capsys.readouterr().err


def test_the_demonstration_takes_nobodys_policies_for_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--policies", str(tmp_path)]) == 1
    assert "understudy up --policies DIR" in capsys.readouterr().err


def test_without_a_command_the_environment_decides(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen: list[str] = []
    monkeypatch.setattr(start, "up", lambda _: chosen.append("up") or 0)
    monkeypatch.setattr(start, "demo", lambda _: chosen.append("demo") or 0)
    assert main([]) == 0
    assert "No provider has its key in the environment" in capsys.readouterr().out
    monkeypatch.setenv("OPENAI_API_KEY", "sk-anything")
    assert main([]) == 0
    assert "Starting the gateway with your provider: openai." in capsys.readouterr().out
    assert chosen == ["demo", "up"]


def test_the_tree_starts_the_ingester_first_and_stops_it_last(tmp_path: Path) -> None:
    config = start.read_policies(ROOT / "policies")
    assert config is not None
    parts = start.tree(config.config, Home(tmp_path), ROOT / "policies", "127.0.0.1", 8080, {})
    assert [part.name for part in parts] == ["ingester", "engine", "gateway", "trainer"]
    stopped = sorted(parts, key=lambda part: part.stop_order)
    assert [part.name for part in stopped] == ["gateway", "trainer", "engine", "ingester"]
    assert {part.name: part.nice for part in parts}["trainer"] == 19


def test_engines_for_language_models_join_the_tree(tmp_path: Path) -> None:
    loaded = start.read_policies(ROOT / "policies")
    assert loaded is not None
    engines = Engines(
        vllm=VllmEngine(base="/models/small", python="/opt/vllm/bin/python", arguments=["--enforce-eager"]),
        transformers=TransformersEngine(max_students=3),
    )
    config = msgspec.structs.replace(loaded.config, engines=engines)
    parts = {
        one.name: one for one in start.tree(config, Home(tmp_path), ROOT / "policies", "127.0.0.1", 8080, {})
    }
    assert list(parts) == ["ingester", "engine", "vllm", "transformers", "gateway", "trainer"]
    assert parts["vllm"].ready is None, "a minute of starting must not keep the gateway waiting"
    assert parts["vllm"].command[-2:] == ("--", "--enforce-eager")
    assert "--vllm-base" in parts["engine"].command
    assert engines.usd_per_hour("classifier") == engines.classifier.usd_per_cpu_hour


# ---------------------------------------------------------------- keys
def test_a_key_is_shown_once_stored_hashed_listed_and_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["keys", "create", "--name", "app", "--project", "shop", "--models", "a, b", "--rpm", "60"]) == 0
    )
    text = capsys.readouterr().out.splitlines()[0]
    assert well_formed(text)
    reader = open_reader(Home.from_env())
    key = reader.keys()[0]
    reader.close()
    assert (key.digest, key.project, key.models, key.scopes) == (
        digest_of(text),
        "shop",
        ("a", "b"),
        ("inference",),
    )
    assert key.requests_per_minute == 60
    assert key.expires_at is not None
    assert 364 < (key.expires_at - time.time()) / 86_400 <= 365

    assert main(["keys", "list"]) == 0
    listed = capsys.readouterr().out
    assert "shop/app" in listed
    assert text not in listed
    assert main(["keys", "create", "--name", "app", "--project", "shop"]) == 1
    assert main(["keys", "revoke", "app"]) == 0
    assert main(["keys", "list"]) == 0
    assert "There are no keys" in capsys.readouterr().out
    assert main(["keys", "list", "--all"]) == 0
    assert "revoked" in capsys.readouterr().out
    assert main(["keys", "revoke", "nobody"]) == 1


def test_a_rotated_key_keeps_its_id_and_its_old_text_for_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    from small_fakes import runtime_of

    from gateway.errors import Unauthenticated
    from gateway.stages.authenticate import authenticate

    assert main(["keys", "create", "--name", "app", "--tpm", "1000"]) == 0
    old = capsys.readouterr().out.splitlines()[0]
    assert main(["keys", "rotate", "app", "--grace", "2"]) == 0
    new = capsys.readouterr().out.splitlines()[0]
    reader = open_reader(Home.from_env())
    runtime = runtime_of(keys=reader.keys())
    reader.close()

    def who(text: str, after_h: float) -> str:
        now = time.time() + after_h * 3600
        found = authenticate({"authorization": f"Bearer {text}"}, runtime, {}, now, "inference")
        assert found.tokens_per_minute == 1000
        return found.key_id

    assert who(old, 1.9) == who(new, 1.9) == who(new, 100)
    with pytest.raises(Unauthenticated, match="replaced"):
        who(old, 2.1)
    assert main(["keys", "rotate", "nobody"]) == 1
    assert main(["keys", "rotate", "app", "--grace", "-1"]) == 1


def test_unlimited_only_when_said_so() -> None:
    options = Namespace(
        name="a", project="p", models="", scopes="inference,data", rpm="600", expires="365",
        tpm="unlimited", concurrency="4", budget_usd_day="unlimited", budget_usd_month="12.5",
    )  # fmt: skip
    from gateway.commands.keys import make_key

    made = make_key(options, 0.0)[0]
    assert (made.requests_per_minute, made.concurrency, made.budget_usd_month) == (600, 4, 12.5)
    assert (made.tokens_per_minute, made.budget_usd_day) == (None, None)
    options.rpm, options.expires = "unlimited", "never"
    key, _ = make_key(options, 0.0)
    assert (key.requests_per_minute, key.expires_at, key.scopes) == (None, None, ("inference", "data"))


@pytest.mark.parametrize(
    "wrong",
    [["--rpm", "0"], ["--rpm", "many"], ["--expires", "soon"], ["--scopes", "root"], ["--project", "a b"],
     ["--tpm", "-1"], ["--budget-usd-day", "nan"]],
)  # fmt: skip
def test_options_that_make_no_sense(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "--name", "x", *wrong]) == 1
    assert re.search(
        r"understudy: --(rpm|expires|scopes|project|tpm|budget-usd-day)", capsys.readouterr().err
    )


def test_migrate_can_run_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate"]) == 0
    assert main(["migrate"]) == 0
    assert "up to date" in capsys.readouterr().out


def test_runs_are_listed_read_and_cancelled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate"]) == 0
    assert main(["runs", "list"]) == 0
    assert "There are no runs" in capsys.readouterr().out
    writer = open_writer(Home.from_env().prepare())
    run = writer.execute(
        EnqueueRun(kind="train", project="p", task="t", fingerprint="f", params={}, at=time.time())
    )
    writer.close()
    assert main(["runs", "cancel", run.id]) == 0
    assert f"Cancelled: {run.id}" in capsys.readouterr().out
    assert main(["runs", "list"]) == 0
    assert "p/t  cancelled" in capsys.readouterr().out
    assert main(["runs", "events", run.id]) == 0
    assert main(["runs", "events", "run_nobody"]) == 1
    assert main(["runs", "cancel", "run_nobody"]) == 1
    assert "run_nobody" in capsys.readouterr().err
