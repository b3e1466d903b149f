"""A log that arrives an hour late (row 59): every call counts once, at the time when it happened."""

from __future__ import annotations

from storage_samples import Room, call, text

from gateway.config import Spool as SpoolSettings
from gateway.storage.spooling.spool import Spool

HOUR = 3600.0
THEN = 20_000 * 24 * HOUR + 5 * HOUR


def test_what_arrives_late_and_twice_counts_once_and_when_it_happened(room: Room) -> None:
    prompt = [call(f"a{n}", at=THEN + 10 * n, body=text(f"question {n}", "billing")) for n in range(20)]
    late = [call(f"b{n}", at=THEN + 10 * n + 5, body=text(f"other {n}", "refund")) for n in range(20)]
    other = Spool(room.home, SpoolSettings(), name="other")
    for record in late:
        other.append(record)
    other.close()
    (held,) = room.home.spool.glob("other-*.seg")
    hidden = held.rename(held.with_suffix(".held"))  # its shipper hangs
    sent = hidden.read_bytes()
    room.add(*prompt)
    assert counted(room, THEN, THEN + HOUR) == (20, 5.0)
    room.add(call("a-now", at=THEN + HOUR + 1, body=text("now", "billing")))  # an hour later
    hidden.rename(held)
    room.ingester.drain()
    # and the shipper, which does not know that it had sent it, sends it again under another name
    again = room.home.spool / held.name.replace("other-", "again-", 1)
    again.write_bytes(sent)
    room.ingester.drain()
    assert counted(room, THEN, THEN + HOUR) == (40, 10.0), "no gap, and nothing twice"
    assert counted(room, THEN + HOUR, THEN + 2 * HOUR) == (1, 0.25), "the hour of its arrival has none of it"
    assert room.reader.spent_usd("key", "k", THEN) == 41 * 0.25
    calls = room.reader.training_calls("p", "triage", "f" * 16, limit=1000)
    assert [one.call_id for one in calls] == [f"{side}{n}" for n in range(20) for side in "ab"] + ["a-now"]
    assert not list(room.home.spool.glob("other-*")) and not list(room.home.spool.glob("again-*"))


def counted(room: Room, since: float, until: float) -> tuple[int, float]:
    """(calls, US dollars) of the ledger in [``since``, ``until``)."""
    lines = room.reader.costs("task", since=since, until=until, limit=10)
    return sum(one.calls for one in lines), sum(one.cost_usd or 0.0 for one in lines)
