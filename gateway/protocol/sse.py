"""Server-sent events, sans IO: bytes in, events out, wherever the bytes were cut."""

from __future__ import annotations

from msgspec import Struct

LARGEST_EVENT = 4 * 1024 * 1024
DONE = b"data: [DONE]\n\n"
_BOM = b"\xef\xbb\xbf"


class Event(Struct, frozen=True, gc=False):
    """One dispatched event: its data lines joined by newlines."""

    data: bytes
    name: bytes = b""


class EventTooLarge(Exception):
    """An event grew past LARGEST_EVENT bytes."""


class EventParser:
    """Feeds on bytes, yields events at their blank line (WHATWG HTML, "server-sent events", parsing).

    CR, LF and CRLF end a line; a leading BOM and comments are skipped; what follows the last blank line when
    the stream ends is incomplete and is told by :attr:`pending`.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._name = b""
        self._size = 0
        self._skip_lf = False
        self._fresh = True

    @property
    def pending(self) -> bool:
        """Whether an event was begun and not finished."""
        return bool(self._rest or self._data)

    def begun(self, data: bytes) -> bytes | None:
        """What is fed but not told yet, with ``data`` behind it, if an event begins there, else None. Who reads events
        from it by other means says so by :meth:`drop` and feeds what is left of it."""
        if self._fresh or self._skip_lf or self._data or self._name:
            return None
        buffer = self._rest + data if self._rest else data
        return buffer if len(buffer) <= LARGEST_EVENT else None

    def drop(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Event]:
        """The events completed by ``data``. Raises EventTooLarge."""
        if self._skip_lf and data:
            self._skip_lf = False
            if data[:1] == b"\n":
                data = data[1:]
        buffer = self._rest + data if self._rest else data
        if self._fresh:
            if len(buffer) < len(_BOM) and _BOM.startswith(buffer):
                self._rest = buffer
                return []
            self._fresh = False
            buffer = buffer.removeprefix(_BOM)
        events: list[Event] = []
        self._rest = b""
        if not self._data and not self._name and len(buffer) <= LARGEST_EVENT and buffer.find(b"\r") < 0:
            events, buffer = self._usual(buffer)
        lines = buffer.splitlines(keepends=True)
        if lines and lines[-1][-1:] not in (b"\n", b"\r"):
            self._rest = lines.pop()
            self._check(len(self._rest))
        elif lines and lines[-1][-1:] == b"\r":
            self._skip_lf = True
        return events + self._dispatch(lines) if lines else events

    def _usual(self, buffer: bytes) -> tuple[list[Event], bytes]:
        """The complete events of ``buffer`` and what is left of it, quickly where an event is one line of data, with or
        without its name in the line before."""
        end = buffer.rfind(b"\n\n")
        if end < 0:
            return [], buffer
        region = buffer[:end]
        lines = region[6:].split(b"\n\ndata: ")
        if region.startswith(b"data: ") and region.count(b"\n") == 2 * (len(lines) - 1):
            return [Event(line) for line in lines], buffer[end + 2 :]
        events: list[Event] = []
        for part in region.split(b"\n\n"):
            head, named, data = part.partition(b"\ndata: ")
            if not named and part.startswith(b"data: ") and b"\n" not in part:
                events.append(Event(part[6:]))
            elif named and part.startswith(b"event: ") and b"\n" not in head and b"\n" not in data:
                events.append(Event(data, head[7:].strip()))
            else:
                events += self._dispatch([*part.splitlines(keepends=True), b"\n", b"\n"])
        return events, buffer[end + 2 :]

    def _dispatch(self, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        for raw in lines:
            line = raw.rstrip(b"\r\n")
            if line:
                self._field(line)
                continue
            if self._data:
                events.append(Event(b"\n".join(self._data), self._name))
                self._data, self._size = [], 0
            self._name = b""
        return events

    def _field(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            self._data.append(value)
            self._size += len(value)
            self._check(0)
        elif line.startswith(b"event:"):
            self._name = line[6:].strip()

    def _check(self, more: int) -> None:
        if self._size + more > LARGEST_EVENT:
            raise EventTooLarge


def frame(payload: bytes) -> bytes:
    """One data frame as OpenAI writes it."""
    return b"data: " + payload + b"\n\n"
