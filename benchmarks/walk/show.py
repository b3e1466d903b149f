"""What a person sees of the walk: a checklist with live figures on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

State = Literal["waiting", "running", "done", "failed"]
_PLAIN_EVERY_S = 5.0


@dataclass(slots=True)
class Line:
    """One phase on the checklist. ``why`` is shown while it runs, ``result`` when it is over."""

    title: str
    why: str
    state: State = "waiting"
    result: str = ""
    began: float = 0.0
    took_s: float = 0.0


@dataclass(slots=True)
class Board:
    """Everything a display shows; the walk writes it, displays read it."""

    header: str
    lines: list[Line]
    figures: dict[str, str] = field(default_factory=dict)
    progress: str = ""


class Display(Protocol):
    def start(self) -> None: ...
    def changed(self, *, phase: Line | None = None) -> None:
        """The board has changed; ``phase`` when that phase began or ended."""

    def stop(self) -> None: ...
    def say(self, text: str) -> None: ...


class PlainDisplay:
    """Lines without control characters, for logs and pipes: each phase, and the figures now and then."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._told_at = 0.0

    def start(self) -> None:
        self.say(self._board.header)

    def changed(self, *, phase: Line | None = None) -> None:
        now = time.monotonic()
        if phase is not None:
            mark = {"running": "..", "done": "ok", "failed": "!!", "waiting": "  "}[phase.state]
            told = phase.why if phase.state == "running" else f"{phase.result} ({phase.took_s:.0f} s)"
            self.say(f"[{mark}] {phase.title}: {told}")
            self._told_at = now
        elif now - self._told_at >= _PLAIN_EVERY_S:
            self._told_at = now
            if not self._board.figures:
                return
            figures = ", ".join(f"{name} {value}" for name, value in self._board.figures.items())
            self.say(f"     {self._board.progress + '; ' if self._board.progress else ''}{figures}")

    def stop(self) -> None:
        pass

    def say(self, text: str) -> None:
        print(text, flush=True)


class LiveDisplay:
    """The same on a terminal, in place."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._live = Live(get_renderable=self._drawn, console=console, refresh_per_second=8, transient=False)
        self._spinner = Spinner("dots", style="cyan")

    def start(self) -> None:
        self._live.start()

    def changed(self, *, phase: Line | None = None) -> None:
        """Nothing to do: the board is drawn again several times a second."""

    def stop(self) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _drawn(self) -> Group:
        steps = Table.grid(padding=(0, 1))
        steps.add_column(width=2)
        steps.add_column(no_wrap=True)
        steps.add_column(overflow="fold")
        for line in self._board.lines:
            steps.add_row(self._mark(line), Text(line.title, style=_style(line.state)), self._told(line))
        figures = Table.grid(padding=(0, 2))
        figures.add_column(style="dim", no_wrap=True)
        figures.add_column(overflow="fold")
        for name, value in self._board.figures.items():
            figures.add_row(Text(name), Text(value))
        return Group(
            Text(self._board.header, style="bold"),
            Panel(steps, title="the loop", title_align="left", border_style="dim"),
            Panel(figures, title="now", title_align="left", border_style="dim"),
        )

    def _mark(self, line: Line) -> Spinner | Text:
        if line.state == "running":
            return self._spinner
        return {
            "done": Text("✓", style="green"),
            "failed": Text("✗", style="bold red"),
            "waiting": Text("·", style="dim"),
        }[line.state]

    def _told(self, line: Line) -> Text:
        if line.state == "running":
            progress = f"\n{self._board.progress}" if self._board.progress else ""
            return Text(f"{line.why}{progress}")
        if line.state == "waiting":
            return Text("")
        return Text(f"{line.result} ({line.took_s:.0f} s)", style=_style(line.state))


def _style(state: State) -> str:
    return {"waiting": "dim", "running": "bold", "done": "", "failed": "bold red"}[state]
