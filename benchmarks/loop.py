"""The learning loop on a labelled set, through the running product: ``python -m benchmarks.loop DATASET``.

The labels are a *simulated teacher*. The set is shuffled and sent call by call to ``understudy up`` with policies
of its own (approval automatic); everything from there on happens by itself: capture, training, calibration, shadow,
canary, live, a successor. Reported are the calls after the first ``--capture`` teacher-labelled ones: the share
served by students, proof of the successor included, and how often what was served equals the label.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec

from benchmarks.replayed import policies
from benchmarks.replayed.figures import Figures, agreement, share
from benchmarks.replayed.replay import Replay
from benchmarks.replayed.rows import BadDataset, Row, as_traffic, read, tools_in
from benchmarks.walk.admin import AdminClient
from benchmarks.walk.processes import (
    Child,
    Children,
    WalkFailed,
    free_port,
    interrupted_by_sigterm,
    undisturbed,
)

_START_LIMIT_S = 60.0


@dataclass(slots=True)
class Bench:
    """The product and the simulated teacher, in ``home``, which is thrown away afterwards."""

    options: argparse.Namespace
    home: Path
    children: Children
    admin_key: str = field(default_factory=lambda: f"ak-us-bench-{secrets.token_urlsafe(24)}")
    origin: str = ""

    def run(self, rows: list[Row]) -> Figures:
        """Raises WalkFailed, BadDataset."""
        self._start()
        key = self._key()
        admin = AdminClient(self.origin, self.admin_key)
        first, capture = self.options.first, self.options.capture
        due = sorted({first, capture})
        tools = tools_in(self.options.tools) if self.options.tools else []
        replay = Replay(admin, self.origin, key, due, capture, self.options.rate, tools, self._check, _say)
        try:
            asyncio.run(replay.go(rows))
            time.sleep(2.0)  # the last re-asks arrive
            return self._figures(replay, admin)
        finally:
            admin.close()

    def _start(self) -> None:
        port, teacher_port = free_port(8180), free_port(9290)
        teacher = [
            "-m",
            "benchmarks.replayed.teacher",
            str(self.options.dataset),
            "--port",
            str(teacher_port),
        ]
        self._await(
            self.children.start("simulated teacher", teacher, {}), f"http://127.0.0.1:{teacher_port}/healthz"
        )
        folder = policies.write(
            self.home / "policies",
            teacher_url=f"http://127.0.0.1:{teacher_port}/v1",
            first=self.options.first,
            capture=self.options.capture,
            target=self.options.target,
            encoder=self.options.encoder,
        )
        arguments = [
            "-m",
            "gateway.cli",
            "up",
            "--policies",
            str(folder),
            "--home",
            str(self.home),
            "--port",
            str(port),
        ]
        self.origin = f"http://127.0.0.1:{port}"
        up = self.children.start("understudy up", arguments, {"UNDERSTUDY_ADMIN_KEY": self.admin_key})
        self._await(up, f"{self.origin}/readyz")

    def _await(self, child: Child, url: str) -> None:
        deadline = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < deadline:
            child.check()
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK:
                    return
            time.sleep(0.1)
        raise WalkFailed(f"'{child.name}' was not ready within {_START_LIMIT_S:.0f} s.")

    def _check(self) -> None:
        for child in self.children.running:
            child.check()

    def _key(self) -> str:
        limits = ["--rpm", "unlimited", "--expires", "never"]
        arguments = [
            "-m",
            "gateway.cli",
            "keys",
            "create",
            "--name",
            "bench",
            *limits,
            "--home",
            str(self.home),
        ]
        for _ in range(5):  # on a busy machine the process that writes may need a moment more
            child = self.children.start("keys", arguments, {})
            child.process.wait(60)
            self.children.running.remove(child)
            key = next((word for word in child.log.read_text().split() if word.startswith("sk-us-")), None)
            if key is not None:
                break
            time.sleep(2.0)
        else:
            raise WalkFailed(f"No key could be made: {child.last_words()}")
        return key

    @staticmethod
    def _figures(replay: Replay, admin: AdminClient) -> Figures:
        after = replay.calls[replay.capture_ended :] if replay.capture_ended is not None else []
        rate, low, high = agreement(after)
        totals = admin.totals()
        live = [call for call in replay.live_from.values() if call >= (replay.capture_ended or 0)]
        once_live = replay.calls[live[-1] :] if live else []
        first_served = next((n for n, one in enumerate(replay.calls, 1) if one.student), None)
        return Figures(
            simulated_teacher=True,
            calls=len(after),
            served_share=share(after) or 0.0,
            agreement=rate,
            agreement_low=low,
            agreement_high=high,
            first_savings_call=first_served,
            net_savings_from_call=replay.first_savings,
            saved_share=totals.saved_share,
            saved_share_after=totals.since(replay.totals_then).saved_share if after else None,
            total_calls=len(replay.calls),
            captured=replay.captured,
            errors=replay.errors,
            served_share_once_live=share(once_live),
            calls_once_live=len(once_live),
        )


def _say(text: str) -> None:
    print(text, flush=True)


def _lines(figures: Figures) -> str:
    def percent(value: float | None) -> str:
        return "unknown" if value is None else f"{value:.1%}"

    interval = f"95 % interval {figures.agreement_low:.1%} to {figures.agreement_high:.1%}"
    return "\n".join(
        (
            "simulated teacher: the set's own labels",
            f"calls after the capture   {figures.calls:,} of {figures.total_calls:,} ({figures.errors} errors)",
            f"served by students        {figures.served_share:.1%} (n = {figures.calls:,})",
            f"agreement of the served   {percent(figures.agreement)} ({interval})",
            f"once the last was live    {percent(figures.served_share_once_live)} (n = {figures.calls_once_live:,})",
            f"first student answer      call {figures.first_savings_call}",
            f"net savings above zero    from call {figures.net_savings_from_call}",
            f"saved, net of re-asks     {percent(figures.saved_share)}; "
            f"after the capture {percent(figures.saved_share_after)}",
        )
    )


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.loop", description="The loop on a labelled set.")
    parser.add_argument("dataset", type=Path, help="JSONL or JSONL.gz: text and label, answer or calls")
    parser.add_argument("--tools", type=Path, help="JSON file: the tools that every call offers")
    parser.add_argument(
        "--capture", type=int, default=4000, help="teacher-labelled calls before the last training"
    )
    parser.add_argument("--first", type=int, help="captured calls that make the first student")
    parser.add_argument("--encoder", type=Path, help="folder of a sentence encoder")
    parser.add_argument(
        "--target", type=float, default=0.94, help="agreement that the threshold certifies on the captured calls"
    )
    parser.add_argument("--seed", type=int, default=0, help="order of the traffic")
    parser.add_argument("--limit", type=int, help="use that many rows only")
    parser.add_argument("--rate", type=float, help="calls a second at most")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the product's data directory there")
    options = parser.parse_args()
    if options.encoder is not None:
        options.encoder = options.encoder.resolve()
    if options.first is None:
        options.first = min(options.capture, max(50, options.capture // 8))
    if options.rate is None:
        options.rate = 35.0 if options.encoder else 125.0  # an encoder's shadow answers must keep up
    if options.first < 50 or options.capture < options.first:
        parser.error("--first must be at least 50 and at most --capture")
    return options


def main() -> int:
    options = _parsed()
    with contextlib.ExitStack() as stack:
        stack.enter_context(interrupted_by_sigterm())
        scratch = options.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="understudy-loop-"))
        )
        home = scratch.resolve()
        (home / "logs").mkdir(parents=True, exist_ok=True)
        bench = Bench(options, home, Children(home / "logs"))
        try:
            rows = as_traffic(read(options.dataset), options.seed, options.limit)
            figures = bench.run(rows)
        except (BadDataset, WalkFailed) as problem:
            print(f"The replay did not get through: {problem}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            with undisturbed():
                bench.children.stop_all()
    print(_lines(figures))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
