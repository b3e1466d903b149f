"""How the figures are told: tables, ratios, and each bar with whether it was reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.overhead import EVENTS
from benchmarks.peers import reference
from benchmarks.peers.ways import ACROSS, DIRECT

CONNECTIONS = (1, 16, 64, 256)
STREAMS = "streams"
_ADDED, _STREAMED = "added to p50 at one connection, ms", "streams of 200 events a second of CPU, as they come"


class Bar(NamedTuple):
    """``measured`` None: it could not be. ``most``: the bar is an upper one."""

    name: str
    bar: float
    measured: float | None
    most: bool = False

    @property
    def reached(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured <= self.bar if self.most else self.measured >= self.bar


def show(result: dict[str, Any]) -> None:
    """Prints what is there; a part that failed is named."""
    table = result.get("ways", {})
    if table:
        _calls(result, table)
        _streams(table)
        _ratios(table)
    for kind, one in result.get("streams", {}).items():
        print(
            f"{kind + ' streams':24}{one['per_s']:>9.0f} a second, {one['cpu_us_per_event']:.2f} us of CPU an event"
        )
    for name, one in result.get("singly", {}).items():
        cpu = f"{one['cpu_us_per_event']:.1f} us of CPU an event" if "cpu_us_per_event" in one else ""
        speed = f"{one['events_per_s']:>9.0f} events a second, {one['took_s']:.2f} s a stream"
        print(f"one by one, {name:12}{speed}, {cpu}")
    if "scale" in result:
        few, many = (result["scale"][size] for size in ("few", "many"))
        print(
            f"{result['scale']['sizes']}: {many['cpu_ms_per_call']:.3f} against {few['cpu_ms_per_call']:.3f} ms of CPU "
            f"a call, ratio {result['scale']['ratio']['cpu']:.3f}"
        )
    if "start" in result:
        one = result["start"]
        print(f"understudy serve: ready after {one['ready_s']:.2f} s, {one['cpu_s']:.2f} s of them CPU")
    print()
    held = bars(result)
    for bar in held:
        sign = "<=" if bar.most else ">="
        measured = "not measured" if bar.measured is None else f"{bar.measured:.3f}"
        verdict = {None: "", True: "reached", False: "NOT REACHED"}[bar.reached]
        print(f"{bar.name:52} {sign} {bar.bar:<8g}{measured:>14}  {verdict}")
    by_name = {bar.name: bar.measured for bar in held}
    for line in reference.told(table, by_name[_ADDED], by_name[_STREAMED]):
        print(line)
    print(machine.told(result["turn_ns"][0], result["turn_ns"][-1]))
    for problem in result.get("problems", ()):
        print(f"failed: {problem}")


def _calls(result: dict[str, Any], table: dict[str, Any]) -> None:
    print(f"{result['rounds']} rounds of {result['seconds']} s, medians; one core for each way, one for the load")
    print(f"\n{'calls per second':12}" + "".join(f"{count:>9}" for count in CONNECTIONS) + "   CPU/call at 16   idle")
    for name, runs in table.items():
        speeds = "".join(f"{runs[str(count)]['per_s']:>9.0f}" for count in CONNECTIONS)
        busy, rss = runs["16"], runs["more"].get("idle_rss_mb")
        print(
            f"{name:16}{speeds}"
            + (f"{busy['cpu_ms_per_call']:>14.3f} ms{rss:>6.0f} MB" if rss is not None else "")
        )
    print(
        f"\n{'p50/p95/p99 ms':16}"
        + "".join(f"{count:>21}" for count in CONNECTIONS)
        + "   (by connections)"
    )
    for name, runs in table.items():
        cells = (
            "/".join(f"{runs[str(count)][share]:.2f}" for share in ("p50_ms", "p95_ms", "p99_ms"))
            for count in CONNECTIONS
        )
        print(f"{name:16}" + "".join(f"{cell:>21}" for cell in cells))


def _streams(table: dict[str, Any]) -> None:
    print(f"\n{'streams':16}{'a second':>9}{'events/s':>10}{'CPU/event':>12}{'first token':>13}")
    for name, runs in table.items():
        one = runs[STREAMS]
        spent = one.get("cpu_ms_per_call")
        cpu = f"{spent * 1000 / EVENTS:>9.2f} us" if spent is not None else f"{'':>12}"
        speeds = f"{one['per_s']:>9.0f}{one['per_s'] * EVENTS:>10.0f}"
        print(f"{name:16}{speeds}{cpu}{runs['more']['first_token_ms']:>10.2f} ms")
    print()


def _ratios(table: dict[str, Any]) -> None:
    for name in table:
        if name not in ("understudy", DIRECT, ACROSS):
            ratios = ", ".join(f"{ratio:.2f} at {kind}" for kind, ratio in _ratio(table, name))
            print(f"understudy / {name}: {ratios}")


def _ratio(table: dict[str, Any], name: str) -> Iterator[tuple[str, float]]:
    """Calls (or streams) a second as a multiple of another way's, by connections."""
    for kind in (*map(str, CONNECTIONS), STREAMS):
        other = table[name][kind]["per_s"]
        if other:
            yield kind, table["understudy"][kind]["per_s"] / other


def bars(result: dict[str, Any]) -> list[Bar]:
    """Every bar, with what was measured."""
    table, streams = result.get("ways", {}), result.get("streams", {})

    def least(name: str) -> float | None:
        if name not in table or "understudy" not in table:
            return None
        found = [ratio for kind, ratio in _ratio(table, name) if kind != STREAMS]
        return min(found, default=None)

    def added(kind: str, figure: str) -> float | None:
        if "understudy" not in table:
            return None
        ours, direct = (table[way][kind][figure] for way in ("understudy", DIRECT))
        return float(ours - direct)

    ours = table.get("understudy", {})
    cpu = ours.get(STREAMS, {}).get("cpu_ms_per_call")
    ratio = result.get("scale", {}).get("ratio", {}).get("cpu")
    return [
        Bar("calls a second, times LiteLLM's (worst)", 25, least("litellm")),
        Bar("calls a second, times Portkey's (worst)", 2.5, least("portkey")),
        Bar("calls a second, times TensorZero's (worst)", 0.4, least("tensorzero")),
        Bar("calls a second, times nginx's (worst)", 0.08, least("nginx")),
        Bar(_ADDED, 0.35, added("1", "p50_ms"), most=True),
        Bar("added to the first token, ms", 1.0, added("more", "first_token_ms"), most=True),
        Bar(_STREAMED, 1000, 1000 / cpu if cpu else None),
        *(
            Bar(f"CPU of an event, {kind}, us", 20, streams.get(kind, {}).get("cpu_us_per_event"), most=True)
            for kind in ("translated", "guarded")
        ),
        Bar("CPU a call, 10,000 keys and 1,000 tasks to 10 of each", 1.1, ratio, most=True),
        Bar("idle memory, MB", 120, ours.get("more", {}).get("idle_rss_mb"), most=True),
        Bar("understudy serve is ready, s", 1.5, result.get("start", {}).get("ready_s"), most=True),
    ]
