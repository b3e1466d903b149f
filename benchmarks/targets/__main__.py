"""Runs the measures: ``python -m benchmarks.targets [NAME ...] [--scale 0.1] [--postgres URL] [--json]``.

    python -m benchmarks.targets                         all of them, some minutes
    python -m benchmarks.targets kills --scale 5         100 kills
    python -m benchmarks.targets database_away --postgres postgresql://postgres@127.0.0.1:5432/postgres --scale 5

``--scale`` multiplies how much is asked. On a machine that does other work the times say little; counts and shares do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence

from benchmarks.targets import measures
from benchmarks.targets.measures import Figures

MEASURES: dict[str, Callable[[float], Awaitable[Figures]]] = {
    "primary_dead": lambda scale: measures.primary_dead(max(50, round(5000 * scale))),
    "full_outage": lambda scale: measures.full_outage(max(50, round(2000 * scale))),
    "hang_ups": lambda scale: measures.hang_ups(max(2, round(40 * scale))),
    "heavy_neighbour": lambda scale: measures.heavy_neighbour(max(1, round(5 * scale))),
    "overload": lambda scale: measures.overload(max(2.0, 15.0 * scale)),
    "cancels": lambda scale: measures.cancels(max(100, round(20_000 * scale))),
    "kills": lambda scale: measures.kills(max(1, round(20 * scale))),
    "revocation": lambda scale: measures.revocation(max(1, round(5 * scale))),
    "start": lambda scale: measures.start(max(1, round(5 * scale))),
}


async def run(names: Sequence[str], scale: float, postgres: str) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    for name in names:
        if name == "database_away":
            found[name] = await measures.database_away(postgres, max(50, round(5000 * scale)), max(5.0, 60.0 * scale))
        else:
            found[name] = await MEASURES[name](scale)
        print(f"{name}: " + ", ".join(f"{what} {value}" for what, value in found[name].items()), file=sys.stderr)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.targets", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(MEASURES)}, database_away")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--postgres", default="", metavar="URL", help="on 127.0.0.1, for database_away")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    names = options.names or [*MEASURES, *(["database_away"] if options.postgres else [])]
    unknown = [name for name in names if name not in MEASURES and name != "database_away"]
    if unknown or ("database_away" in names and not options.postgres):
        parser.error(f"no such measure: {unknown[0]}" if unknown else "database_away needs --postgres URL")
    found = asyncio.run(run(names, options.scale, options.postgres))
    if options.json:
        print(json.dumps({"load": os.getloadavg()[0], "scale": options.scale, **found}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
