"""``python -m gateway.server``: the gateway process (``understudy serve``)."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.bootstrap import build
from gateway.policy_files import PolicyError
from gateway.storage.home import Home
from gateway.telemetry.logs import setup_logging

HEADER_DEADLINE = 15.0


class PatientProtocol(HttpToolsProtocol):
    """uvicorn has no deadline for request headers; a client that trickles them is dropped here."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEADER_DEADLINE, transport.close)

    def on_headers_complete(self) -> None:
        self._disarm()
        super().on_headers_complete()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_DEADLINE, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="understudy serve", description="The gateway alone.")
    parser.add_argument("--policies", type=Path, default=Path("policies"))
    parser.add_argument("--home", type=Path, default=None)
    parser.add_argument("--host", default=None)
    parser.add_argument("--port", type=int, default=None)
    options = parser.parse_args(argv)
    setup_logging()
    home = Home(options.home.resolve()) if options.home else Home.from_env()
    try:
        app, config = build(home, options.policies, os.environ)
    except PolicyError as problem:
        print(problem, file=sys.stderr)
        return 1
    server = config.server
    uvicorn.run(
        app,
        host=options.host or server.host,
        port=options.port if options.port is not None else server.port,
        loop="uvloop",
        http=PatientProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(server.shutdown_s),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
