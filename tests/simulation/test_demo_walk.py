"""The walk's own logic over a scripted admin API; the loop on real parts is tested end to end elsewhere."""

from __future__ import annotations

import http.server
import io
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.demo import _alone, _prepared
from benchmarks.simulation.traffic import Progress
from benchmarks.walk import phases
from benchmarks.walk.admin import Entry, TaskSeen, Totals
from benchmarks.walk.phases import Walk, checklist
from benchmarks.walk.processes import Children, TrafficReader, WalkFailed, free_port
from benchmarks.walk.show import Board, PlainDisplay
from benchmarks.walk.summary import Memory, open_doors, results

TEACHER = "simulated/simulated-teacher-large"
Script = Iterator[dict[str, Any]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "POLL_S", 0.001)
    monkeypatch.setattr(phases, "HOLD_LIVE_S", 0.01)
    monkeypatch.setattr(phases, "LEAST_REASKS", 40)


@pytest.fixture
def teacher() -> Iterator[tuple[str, list[Any]]]:
    heard: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", heard
        server.shutdown()


def student(stage: str, n: int = 100) -> dict[str, Any]:
    evidence = {"n": n, "agreement": 0.97, "low": 0.95, "high": 0.98}
    fixed = {"id": "st_1", "version": 1, "recipe": "classifier", "paused": False, "threshold": 0.6}
    return {**fixed, "stage": stage, "evidence": evidence, "certificate": {"path": "certificates/c.json"}}


def run(state: str, created_at: float, error: str = "") -> dict[str, Any]:
    return {
        "id": "run_1",
        "state": state,
        "progress": 0.5,
        "step": "fit",
        "error": error,
        "created_at": created_at,
    }


class ScriptedAdmin:
    """Answers as the gateway would: each look is the next state, the last one stays."""

    def __init__(self, states: list[Callable[[], dict[str, Any]]]) -> None:
        self._states = states
        self._looks = 0

    def task(self, name: str) -> TaskSeen:
        state = self._states[min(self._looks, len(self._states) - 1)]()
        self._looks += 1
        fixed = {"name": name, "teacher": TEACHER, "captured_calls": 2000, "needed_calls": 2000}
        cost = {"per_call_usd": 0.001, "teacher_per_call_usd": 0.001}
        return msgspec.convert({**fixed, "cost": cost, "students": [], "runs": [], **state}, TaskSeen)

    def totals(self) -> Totals:
        calls = 100 * self._looks
        return Totals(calls=calls, cost_usd=0.001 * calls, teacher_cost_usd=0.001 * calls)

    def journal(self) -> list[Entry]:
        return [
            Entry(9, time.time(), "rollout", "watch", "st_1", "retired", "agreement fell", {"retrain": True})
        ]


def walk(states: list[Callable[[], dict[str, Any]]], url: str, tmp_path: Path) -> Walk:
    board = Board("header", checklist())
    reader = TrafficReader(io.BytesIO())
    made = Walk(
        ScriptedAdmin(states),  # type: ignore[arg-type]
        url,
        "support-triage",
        Children(tmp_path),
        reader,
        board,
        PlainDisplay(board),
    )
    return made


def test_the_walk_goes_through_every_phase_and_measures(
    teacher: tuple[str, list[Any]], tmp_path: Path
) -> None:
    url, heard = teacher
    states: list[Callable[[], dict[str, Any]]] = [
        lambda: {"captured_calls": 10},
        lambda: {},
        lambda: {"runs": [run("running", 0)]},
        lambda: {"students": [student("shadow")]},
        lambda: {"students": [student("canary")]},
        lambda: {"students": [student("live")]},
        *[lambda: {"students": [student("live")]}] * 40,
        lambda: {"students": [student("retired")] if heard else [student("live")], "runs": []},
        lambda: {"students": [student("retired")], "runs": [run("queued", time.time())]},
    ]
    made = walk(states, url, tmp_path)
    made.go()
    assert [line.state for line in made.board.lines[1:]] == ["done"] * 7
    assert heard == [{"behaviour": "drifted"}]
    assert made.figures["before_usd_per_1000_calls"] == pytest.approx(1.0)
    assert made.figures["live_agreement"]["n"] == 100
    assert made.figures["certificate"] == "certificates/c.json"
    assert made.figures["drift_reason"] == "agreement fell"
    assert made.figures["retrain"] in ("run_1", "queued")
    assert "noticed" in results(made.figures, tmp_path / "c.json", "holds")


def test_a_failed_training_ends_the_walk_with_its_error(tmp_path: Path) -> None:
    made = walk([lambda: {}, lambda: {"runs": [run("failed", 0, "too few calls")]}], "http://x", tmp_path)
    with pytest.raises(WalkFailed, match="too few calls"):
        made.go()
    assert made.board.lines[2].state == "failed"


def test_what_does_not_happen_in_time_is_named(tmp_path: Path) -> None:
    made = walk([lambda: {"captured_calls": 3}], "http://x", tmp_path)
    with pytest.raises(WalkFailed, match=r"Capture: within 0 s .* \(3 of 2,000 calls captured\)"):
        made._phase("Capture", 0.01, lambda: _never(made), "nothing came")


def _never(made: Walk) -> None:
    made.board.progress = f"{made.task.captured_calls:,} of 2,000 calls captured"


def test_a_child_that_dies_ends_the_walk_with_its_last_words(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = children.start("gateway", ["-c", "import sys; sys.exit('the port is taken')"], {})
    child.process.wait(60)
    with pytest.raises(WalkFailed, match="the port is taken"):
        child.check()
    children.stop_all()
    assert children.running == []


def test_children_do_not_inherit_our_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_DATABASE_URL", "postgresql://somewhere/real")
    children = Children(tmp_path)
    code = "import os; print(sorted(n for n in os.environ if n.startswith('UNDERSTUDY')))"
    child = children.start("one", ["-c", code], {"UNDERSTUDY_ADMIN_KEY": "k"})
    child.process.wait(60)
    children.stop(child)
    assert child.last_words() == "['UNDERSTUDY_ADMIN_KEY']"


def test_the_students_share_is_of_recent_answers() -> None:
    lines = [
        Progress(10, 0, 0, {TEACHER: 10}, 1.0, 1.0, 1.0, ""),
        Progress(20, 0, 0, {TEACHER: 12, "students/support-triage": 8}, 1.0, 1.0, 1.0, ""),
    ]
    reader = TrafficReader(iter([*map(msgspec.json.encode, lines), b"not json"]))  # type: ignore[arg-type]
    reader.run()
    assert reader.student_share(TEACHER) == pytest.approx(0.8)
    assert reader.latest.answers == 20


def test_memory_is_private_and_an_unfinished_walk_starts_over(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    first = _prepared(home, fresh=False)
    assert stat.S_IMODE((home / "demo.json").stat().st_mode) == 0o600
    assert _prepared(home, fresh=False).admin_key != first.admin_key
    done = Memory(admin_key="ak", key="sk", walked=True, figures={"saved_usd": 1.0})
    done.save(home)
    assert _prepared(home, fresh=False) == done
    assert _prepared(home, fresh=True) != done


def test_a_folder_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("mine")
    with pytest.raises(WalkFailed, match="left alone"):
        _prepared(tmp_path / "demo", fresh=True)
    assert (tmp_path / "demo" / "thesis.txt").read_text() == "mine"


def test_two_demos_do_not_share_a_home(tmp_path: Path) -> None:
    with _alone(tmp_path), pytest.raises(WalkFailed, match="running"), _alone(tmp_path):
        pass


def test_the_snippet_is_python_and_the_teacher_is_called_simulated() -> None:
    told = open_doors("http://127.0.0.1:8080", "http://127.0.0.1:9090", Memory(admin_key="ak", key="sk"))
    snippet = told.split("client:\n", 1)[1]
    compile("\n".join(line.strip() for line in snippet.splitlines()), "snippet", "exec")
    assert len(snippet.splitlines()) == 3
    assert "simulated" in told


def test_a_taken_port_is_passed_over() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port


def test_children_die_with_a_demo_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from benchmarks.walk.processes import Children\n"
        f"child = Children(pathlib.Path({str(tmp_path)!r})).start('sleeper', ['-c', 'import time; time.sleep(60)'], {{}})\n"
        "print(child.process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    demo = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert demo.stdout is not None
    child = int(demo.stdout.readline())
    time.sleep(0.3)  # the child has become its command
    demo.kill()
    demo.wait()
    demo.stdout.close()
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").read_text().split(") ")[1][0] == "Z":
            return  # nobody reaps it here
        time.sleep(0.05)
    pytest.fail("the child outlived the demo")
