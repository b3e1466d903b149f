"""``python -m gateway.server``: the gateway process (``understudy serve``)."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from gateway.access.admin_key import WeakKey
from gateway.bootstrap import build
from gateway.config import Config, Server
from gateway.judges.process import GuardsCannotStart
from gateway.policy.door_checks import bind_problem
from gateway.policy.files import PolicyError, read
from gateway.processes.memory import settle
from gateway.processes.workers import listening
from gateway.resilience.connections import Bounds, PatientProtocol, protocol, websocket_protocol
from gateway.resilience.drain import Drain
from gateway.storage.counting.redis_client import WrongTimeout
from gateway.storage.home import Home
from gateway.storage.spooling.format import SpoolKeyError
from gateway.telemetry.logs import setup_logging

__all__ = ["DrainingServer", "PatientProtocol", "bounds_of", "main"]

_RESERVED_FILES = 64
"""File descriptors kept for the spool, the database and the process itself."""


class DrainingServer(uvicorn.Server):
    """On SIGTERM it says at once that it is not ready, lets the calls in flight end, for ``seconds`` at most, and
    only then closes its doors. ``loaded`` is called when everything has started, before the first call."""

    def __init__(
        self, config: uvicorn.Config, drain: Drain, seconds: float, loaded: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(config)
        self._drain, self._seconds, self._loaded = drain, seconds, loaded

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loaded()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._drain.begin()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._drain.finish(self._seconds)
        await super().shutdown(sockets)


def bounds_of(server: Server, files: int) -> Bounds:
    """The bounds on connections; a call needs a descriptor here and one to its provider, out of ``files``."""
    room = max(8, (files - _RESERVED_FILES) // 2)
    return Bounds(
        header=server.header_timeout_s,
        write_idle=server.write_idle_s,
        total=min(server.max_connections, room),
        per_address=server.max_connections_per_address,
    )


def _refused(policies: Path, host: str) -> str:
    """Why the gateway must not listen on ``host``, which takes the place of the one in the policies; "" when it may."""
    try:
        server = read(policies, os.environ).config.server
    except PolicyError as problem:
        return str(problem)
    return " ".join(bind_problem(server, os.environ, host)).strip()


def _explained(record: logging.LogRecord) -> bool:
    """A start that failed for a reason that was told already needs no traceback, which Litestar sends as a text."""
    return GuardsCannotStart.__name__ not in record.getMessage()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="understudy serve", description="The gateway alone.")
    parser.add_argument("--policies", type=Path, default=Path("policies"))
    parser.add_argument("--home", type=Path, default=None)
    parser.add_argument("--host", default=None)
    parser.add_argument("--port", type=int, default=None)
    parser.add_argument("--shared-port", action="store_true", help="one of several workers on this port")
    options = parser.parse_args(argv)
    setup_logging()
    logging.getLogger("uvicorn.error").addFilter(_explained)
    if options.host is not None and (why := _refused(options.policies, options.host)):
        print(why, file=sys.stderr)
        return 1
    home = Home(options.home.resolve()) if options.home else Home.from_env()
    return run(home, options.policies, options.host, options.port, shared_port=options.shared_port)


def run(
    home: Home,
    policies: Path,
    host: str | None,
    port: int | None,
    *,
    shared_port: bool = False,
    config: Config | None = None,
) -> int:
    """Serves until told to stop. → the exit status. ``config``: what ``policies`` say, when they were read already."""
    try:
        app, config = build(home, policies, os.environ, config)
    except (PolicyError, SpoolKeyError, WeakKey, WrongTimeout) as problem:
        print(problem, file=sys.stderr)
        return 1
    server = config.server
    host = host or server.host
    port = port if port is not None else server.port
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    settings = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=protocol(bounds_of(server, files)),
        ws=websocket_protocol,  # type: ignore[arg-type]  # called with keywords, as a class would be
        ws_max_size=server.max_body_bytes,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )
    # uvicorn raises the signal again once it has shut down; being told to stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: None)
    running = DrainingServer(settings, app.state.drain, server.shutdown_s, settle)
    signal.signal(signal.SIGHUP, lambda *_: app.state.get("reload", int)())
    try:
        running.run([listening(host, port)] if shared_port else None)
    except KeyboardInterrupt:
        return 0
    return 0 if running.started else 3


if __name__ == "__main__":
    sys.exit(main())
