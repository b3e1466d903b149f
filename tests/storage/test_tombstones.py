"""Where deleted things stood: for a week, for their own project, and for no name that is a path."""

from __future__ import annotations

from pathlib import Path

from gateway.storage.home import Home
from gateway.storage.tombstones import Tombstones

NAME = "file-" + "0a" * 16
DAY = 86_400.0


def test_a_place_is_remembered_for_a_week(tmp_path: Path) -> None:
    clock = [10.5 * DAY]
    made = Tombstones(Home(tmp_path), lambda: clock[0])
    made.bury("mine", NAME, 123.25)
    for later in (0.0, 1.0, 7.0):
        clock[0] = (10.5 + later) * DAY
        made.sweep()
        assert made.place("mine", NAME) == (123.25, NAME)
        assert made.place("another", NAME) is None
    clock[0] = 18.5 * DAY
    assert made.place("mine", NAME) is None
    made.sweep()
    assert not list((tmp_path / "gone").iterdir())


def test_names_are_no_paths_and_parts_are_apart(tmp_path: Path) -> None:
    made = Tombstones(Home(tmp_path))
    for at, name in enumerate(["", "../../x", "a\0b", "x" * 5000, NAME]):
        made.bury("mine", name, float(at))
        made.bury("mine", name, 100.0 + at, within="store")
        assert made.place("mine", name) == (float(at), name)
        assert made.place("mine", name, within="store") == (100.0 + at, name)
        assert made.place("mine", name, within="other") is None
    assert all(len(one.name) == 32 for one in (tmp_path / "gone").glob("*/*"))


def test_what_cannot_be_read_or_written_is_forgotten(tmp_path: Path) -> None:
    made = Tombstones(Home(tmp_path))
    made.sweep()
    made.bury("mine", NAME, 1.0)
    next((tmp_path / "gone").glob("*/*")).write_bytes(b"torn")
    assert made.place("mine", NAME) is None
    other = Tombstones(Home(tmp_path / "a file"))
    (tmp_path / "a file").write_bytes(b"")
    other.bury("mine", NAME, 1.0)
    assert other.place("mine", NAME) is None
