"""The process of the guard models, on a unix socket in the data directory.

    python -m trainer.engines.guards.server --home DIR [--models JSON] [--threads N]

    POST /v1/ask   {"spec": {"kind": ..., ...}, "questions": [...]} → {"answers": [...]}
    GET  /healthz

``--models`` is a JSON list of specs: they are loaded before the socket opens, so that a model which cannot be loaded is
an error at the start. Others are loaded when they are first asked, as after a reload of the policies. One process a
data directory: a second one ends at once with status 0.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.errors import GatewayError
from gateway.protocol.body import decode_object, typed
from gateway.storage.home import Home
from trainer.engines.asgi import Application, Response, serve_on
from trainer.engines.guards.pools import Loader, Model, Pools, Question


class _Asked(Struct, frozen=True):
    spec: dict[str, Any]
    questions: list[Question]


def _sorter(spec: Mapping[str, Any]) -> Model:
    from trainer.engines.guards.sequences import sorter

    return sorter(spec)


def _toxic(spec: Mapping[str, Any]) -> Model:
    from trainer.engines.guards.toxic import toxic

    return toxic(spec)


def _presidio(spec: Mapping[str, Any]) -> Model:
    from trainer.engines.guards.presidio import presidio

    return presidio(spec)


LOADERS: Mapping[str, Loader] = {"sorter": _sorter, "toxic": _toxic, "presidio": _presidio}


async def serve(home: Home, models: Sequence[Mapping[str, Any]]) -> None:
    """Serves until SIGTERM or SIGINT. Raises GatewayError when one of ``models`` cannot be loaded."""
    pools = Pools(LOADERS)

    async def ask(body: bytes) -> Response:
        asked = typed(decode_object(body), _Asked)
        return Response(msgspec.json.encode({"answers": await pools.ask(asked.spec, asked.questions)}))

    async def health(_: bytes) -> Response:
        return Response(msgspec.json.encode({"status": "ok", "models_loaded": pools.count()}))

    try:
        for spec in models:
            await pools.load(spec)
        await serve_on(
            home.guards_socket, Application({"/v1/ask": ("POST", ask), "/healthz": ("GET", health)})
        )
    finally:
        pools.close()


def _alone(home: Home) -> int | None:
    """Holds the data directory for one such process: a descriptor to keep, or None when another one has it."""
    descriptor = os.open(home.root / "guards.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="trainer.engines.guards.server", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--models", default="[]", help="the models to load first, as JSON")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    options = parser.parse_args()
    home = Home(options.home.resolve()).prepare()
    if _alone(home) is None:
        return
    models = msgspec.json.decode(options.models, type=list[dict[str, Any]])
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if not any(model.get("download") for model in models):
        os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        asyncio.run(serve(home, models))
    except GatewayError as problem:
        raise SystemExit(problem.message) from None


if __name__ == "__main__":
    main()
