"""Row 63, short: a few seconds of streams, clients that leave and providers that fail leave nothing behind."""

from __future__ import annotations

from benchmarks.soak import Seen, soak


async def test_row_63_a_short_soak_leaves_nothing_behind() -> None:
    seen = await soak(8.0, 30.0, 0)
    assert seen.judged() == [] and seen.asked > 50 and seen.statuses["200"] > 20
    assert seen.before["files"] == seen.after["files"] > 0
    assert seen.before["tasks"] >= seen.after["tasks"] > 0  # one that only looks around may stand at the start


def test_what_grows_is_told() -> None:
    flat, grows = [100.0] * 50, [100.0 + at for at in range(50)]
    at_rest = {"files": 20.0, "tasks": 9.0}
    assert Seen(rss_mib=flat, before=at_rest, after=at_rest).judged() == []
    assert "memory grew" in Seen(rss_mib=grows, before=at_rest, after=at_rest).judged()[0]
    assert "files: 21" in Seen(rss_mib=flat, before=at_rest, after={**at_rest, "files": 21.0}).judged()[0]
