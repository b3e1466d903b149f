"""The options of the processes: ``up``, ``serve``, ``ingest``, ``trainer``, ``engine``, ``demo``."""

from __future__ import annotations

from gateway.commands.parsing import Commands, add, address


def process_commands(commands: Commands) -> None:
    up = add(
        commands, "up", "gateway, ingester, trainer and engine in one process tree", ("start", "up"),
        "understudy up", "understudy up --policies /etc/understudy --port 9000",
    )  # fmt: skip
    address(up)
    serve = add(
        commands,
        "serve",
        "the gateway alone",
        ("start", "serve"),
        "understudy serve --host 127.0.0.1 --port 8081",
        "understudy serve --workers 4",
    )
    address(serve)
    add(commands, "ingest", "the ingester alone: spool to database", ("start", "ingest"), "understudy ingest")
    add(
        commands,
        "trainer",
        "the trainer alone: learns and promotes",
        ("start", "trainer"),
        "understudy trainer",
    )
    add(
        commands,
        "engine",
        "the built-in engine alone: serves students",
        ("start", "engine"),
        "understudy engine",
    )
    demo = add(
        commands, "demo", "the whole loop with a simulated teacher and policies of its own", ("start", "demo"),
        "understudy demo", "understudy demo --fresh",
    )  # fmt: skip
    demo.add_argument("--fresh", action="store_true", help="forget the last demonstration first")
