"""How the nearest kept question is found: the exact way and the approximate one, and what happens between the two."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from gateway.caching.entries import Entry, Purge
from gateway.caching.index import Index, Kept
from gateway.caching.search import Search, inverted, search_by
from gateway.caching.search.inverted import Inverted
from optimizer.reuse.wording import wording

SIZE = 32
NOBODY = Entry(0.0, 10.0, "p", "t", "k", "", "", None, b"{}")


def vectors(count: int, seed: int = 0) -> Any:
    made = np.random.default_rng(seed).normal(size=(count, SIZE)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def settle(search: Inverted) -> None:
    """Waits for the lists."""
    if search._making is not None:
        search._making.result(30)
    assert search.approximate


def lists(begin: int = 50, most: int = 1000) -> Inverted:
    pytest.importorskip("faiss")
    return Inverted(SIZE, most, begin)


@pytest.mark.parametrize("way", ["exact", "faiss"])
def test_what_is_there_is_found_and_what_has_gone_is_not(way: Any) -> None:
    search: Search = search_by(way, SIZE, 1000) if way == "exact" else lists()
    known = dict(enumerate(vectors(400), start=1))
    for number, vector in known.items():
        search.add(number, vector)
    if isinstance(search, Inverted):
        settle(search)
    for number in random.Random(1).sample(sorted(known), 300):
        found = search.nearest(known[number])
        assert found is not None and found[0] == number and found[1] == pytest.approx(1.0, abs=1e-4)
        search.remove(number)
        del known[number]
        after = search.nearest(vectors(1)[0])
        assert after is None or after[0] in known
    assert len(search) == 100 and search.size == SIZE
    for number in list(known):
        search.remove(number)
    assert len(search) == 0 and search.nearest(vectors(1)[0]) is None


def test_a_likeness_is_its_own_whatever_was_missed() -> None:
    search, known = lists(begin=100), vectors(500)
    for number, vector in enumerate(known):
        search.add(number, vector)
    settle(search)
    for asked in vectors(100, seed=5):
        found = search.nearest(asked)
        assert found is not None
        assert found[1] == pytest.approx(float(known[found[0]] @ asked), abs=1e-5)
        assert found[1] <= float((known @ asked).max()) + 1e-5


def test_what_comes_and_goes_while_the_lists_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    going, known, make = threading.Event(), vectors(120), inverted._made
    monkeypatch.setattr(inverted, "_made", lambda *told: going.wait(30) and make(*told))
    search = lists(begin=50)
    for number, vector in enumerate(known[:100]):
        search.add(number, vector)
    for number in (3, 70):  # one the lists begin with, and one they do not
        search.remove(number)
    assert search.nearest(known[60]) == (60, pytest.approx(1.0, abs=1e-4)), "nobody waits for the lists"
    going.set()
    settle(search)
    for number, vector in enumerate(known[100:], start=100):
        search.add(number, vector)
    assert len(search) == 118
    found = [search.nearest(vector) for vector in known]
    assert [one[0] for one in found if one] == [
        at if at not in (3, 70) else found[at][0] for at in range(120)
    ]
    assert found[3] is not None and found[3][0] != 3


def test_where_no_lists_can_be_made_the_exact_search_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise MemoryError("too little")

    monkeypatch.setattr(inverted, "_made", broken)
    search, known = lists(begin=20), vectors(60)
    for number, vector in enumerate(known):
        search.add(number, vector)
        if search._making is not None:
            search._making.exception(30)
    assert not search.approximate and [search.nearest(one)[0] for one in known] == list(range(60))  # type: ignore[index]
    assert caplog.text.count("no index could be made") == 1


def kept(key: str, bucket: str = "b", expires: float = 10.0, project: str = "p") -> Kept:
    answer = replace(NOBODY, project=project)
    return Kept(key, (project, "t"), bucket, wording(key), answer, "text", expires, 10)


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists from few vectors on."""
    pytest.importorskip("faiss")
    monkeypatch.setattr("gateway.caching.search.Inverted", lambda size, most: Inverted(size, most, 40))


def test_a_cache_in_lists_is_bounded_expires_and_is_purged(early: None) -> None:
    index, known = Index(), vectors(600)
    bounds: dict[str, Any] = {"max_entries": 100, "max_bytes": 1 << 24, "way": "faiss"}
    for number, vector in enumerate(known):
        index.put(kept(str(number), expires=5.0 if number % 2 else 10.0), vector, **bounds)
    assert len(index) == 100
    found = index.nearest("b", known[599], 1.0)
    assert found is not None and found[0].key == "599"
    late = [index.nearest("b", vector, 7.0) for vector in known[500:]]
    assert all(one is None or int(one[0].key) % 2 == 0 for one in late) and (left := len(index)) >= 50
    assert index.purge(Purge(entry="598")) == 1 and index.purge(Purge(project="nobody")) == 0
    assert index.purge(Purge(project="p")) == left - 1 and len(index) == 0 and index.bytes == 0


def test_no_project_is_found_from_another_in_lists(early: None) -> None:
    index, known = Index(), vectors(300)
    for number, vector in enumerate(known):
        mine = kept(str(number), bucket=f"b{number % 2}", project=f"p{number % 2}")
        index.put(mine, vector, max_entries=1000, max_bytes=1 << 24, way="faiss")
    for number, vector in enumerate(known):
        found = index.nearest(f"b{(number + 1) % 2}", vector, 0.0)
        assert found is not None and found[0].scope[0] == f"p{(number + 1) % 2}"


def test_vectors_of_another_length_under_a_name_end_the_earlier_ones() -> None:
    """An encoder's folder has another model in it; others keep what the old one made."""
    index = Index()
    for number, vector in enumerate(vectors(3)):
        index.put(kept(f"old{number}"), vector, max_entries=9, max_bytes=1 << 20)
    longer = np.ones(2 * SIZE, dtype=np.float32) / 8
    index.put(kept("new"), longer, max_entries=9, max_bytes=1 << 20)
    assert len(index) == 1 and index.nearest("b", vectors(1)[0], 0.0) is None
    index.put(kept("newer"), longer, max_entries=1, max_bytes=1 << 20)
    assert index.nearest("b", longer, 0.0)[0].key == "newer"  # type: ignore[index]
    index.forget("p")
    assert len(index) == 0 and index.bytes == 0
