"""Slices that are found: what inputs are about, kept without their words."""

from __future__ import annotations

import random

import msgspec

from optimizer.clusters import find, hashed, nearest
from optimizer.slices import REST, Slice, slice_of

TOPICS = {
    "money": ["invoice", "payment", "charged", "refund", "credit", "bank", "receipt", "amount"],
    "parcel": ["parcel", "delivery", "courier", "tracking", "shipped", "address", "depot", "late"],
    "login": ["password", "login", "account", "reset", "locked", "browser", "email", "code"],
}


def texts(count: int = 600) -> list[tuple[str, str]]:
    rng, made = random.Random(3), []
    for number in range(count):
        topic = list(TOPICS)[number % 3]
        said = [*rng.sample(TOPICS[topic], 4), "please", "help", rng.choice(TOPICS[rng.choice(list(TOPICS))])]
        rng.shuffle(said)
        made.append((topic, f"{' '.join(said)} {rng.getrandbits(40):x}"))
    return made


def test_what_calls_are_about_is_found_and_found_again() -> None:
    made = texts()
    found = find([text for _, text in made], 3, seed=1)
    assert found == find([text for _, text in made], 3, seed=1)
    assert len(found) == 3 and all(one.share > 0.2 for one in found)
    of = {topic: nearest([one.centroid for one in found], " ".join(words)) for topic, words in TOPICS.items()}
    assert sorted(str(at) for at in of.values()) == ["0", "1", "2"]
    right = sum(nearest([one.centroid for one in found], text) == of[topic] for topic, text in texts(300))
    assert right >= 280
    assert nearest([one.centroid for one in found], "something else entirely") is None


def test_a_certificate_that_names_a_cluster_holds_no_word_of_it() -> None:
    found = find([text for _, text in texts()], 3, seed=1)
    written = msgspec.json.encode([Slice("cluster-1", centroid=one.centroid) for one in found]).decode()
    assert not any(word in written for words in TOPICS.values() for word in words)
    assert all(hashed(word) in written for one in found for word in one.words)
    assert b"centroid" not in msgspec.json.encode(Slice("vip", metadata={"tier": "vip"}))


def test_declared_slices_come_first_and_the_nearest_cluster_takes_the_call() -> None:
    found = find([text for _, text in texts()], 3, seed=1)
    slices = [Slice("vip", metadata={"tier": "vip"})]
    slices += [Slice(f"cluster-{number}", centroid=one.centroid) for number, one in enumerate(found, 1)]
    named = {
        topic: slice_of(slices, metadata={}, text=" ".join(words), answer=None) for topic, words in TOPICS.items()
    }
    assert sorted(str(name) for name in named.values()) == ["cluster-1", "cluster-2", "cluster-3"]
    assert slice_of(slices, metadata={"tier": "vip"}, text="invoice", answer=None) == "vip"
    assert slice_of(slices, metadata={}, text="zzz", answer=None) == REST


def test_too_little_or_too_much_alike_is_no_cluster() -> None:
    assert find(["invoice payment"] * 30, 3, seed=1) == []
    assert find(["the very same words"] * 500, 3, seed=1) == []
    assert find([], 3, seed=1) == []
