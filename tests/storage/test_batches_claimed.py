"""Which of the open batches a worker gets: of the project that has the fewest at work, the oldest."""

from __future__ import annotations

from storage_samples import Room

from gateway.storage.data_values import AddBatch, Batch, ClaimBatch

NOW = 1_795_000_000.0


def add(room: Room, project: str, number: int) -> None:
    name = f"batch_{project}{number}"
    room.writer.execute(AddBatch(Batch(name, project, "k", "/v1/embeddings", "24h", "file-1", NOW + number, NOW + 9e4), 99))


def claimed(room: Room, at: float = NOW + 100, *but: str) -> str:
    found = room.writer.execute(ClaimBatch("w", at, 5.0, but))
    return found.id.removeprefix("batch_") if found is not None else ""


def test_projects_come_in_turn_and_the_oldest_first(room: Room) -> None:
    for number in (2, 1, 3, 4):
        add(room, "a", number)
    add(room, "b", 5)
    add(room, "b", 6)
    assert [claimed(room) for _ in range(7)] == ["a1", "b5", "a2", "b6", "a3", "a4", ""]
    assert claimed(room, NOW + 200) == "a1", "whoever had them is gone, and with them what was at work"


def test_some_projects_may_be_left_out(room: Room) -> None:
    add(room, "a", 1)
    assert claimed(room, NOW + 100, "a") == ""
    add(room, "b", 2)
    assert claimed(room, NOW + 100, "a", "c") == "b2"
    assert claimed(room) == "a1"
