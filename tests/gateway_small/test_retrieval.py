"""What files say, how it is cut, and how chunks are ranked."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from gateway.retrieval.index import Index
from gateway.retrieval.reading import NotRead, chunks_of, text_of
from gateway.storage.vector_stores import Chunks, VectorFile


def everything(_: object) -> bool:
    return True


def test_chunks_hold_every_word_within_their_bounds() -> None:
    rng = random.Random(3)
    for _ in range(100):
        words = [f"{chr(97 + number % 26)}{number % 1000}" for number in range(rng.randrange(1, 400))]
        size, overlap = rng.randrange(4, 90), rng.randrange(0, 2)
        chunks = list(chunks_of(" ".join(words), size, overlap))
        assert overlap or "".join(words) == "".join("".join(chunks).split())
        seen = [word for chunk in chunks for word in chunk.split()]
        assert set(words) <= {*seen, *(a + b for a, b in itertools.pairwise(seen))}, "a cut may part a word in two"
        assert all(len(chunk.split()) <= size for chunk in chunks)
    assert list(chunks_of("", 10, 5)) == [] == list(chunks_of(" \n", 10, 5))
    assert list(chunks_of("one two", 10, 5)) == ["one two"]
    assert list(chunks_of("你好世界", 2, 1)) == ["你好", "好世", "世界"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_texts_are_read_in_each_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a").write_bytes("grüße 你好".encode(encoding))
    assert text_of(tmp_path / "a", "a.txt", 1000) == "grüße 你好"
    with pytest.raises(NotRead, match="more than 3 bytes"):
        text_of(tmp_path / "a", "a.txt", 3)


def test_of_a_page_its_words_are_read(tmp_path: Path) -> None:
    page = "<style>a{}</style><p>One &amp; two<br>three</p><script>x()</script><div>four <b>five</b></div><p>" + "<div>" * 5000
    (tmp_path / "a").write_text(page)
    assert text_of(tmp_path / "a", "A.HTML", 100_000).split() == ["One", "&", "two", "three", "four", "five"]
    assert "<style>" in text_of(tmp_path / "a", "a.txt", 100_000)


def index_of(texts: list[str], vectors: list[list[float]] | None = None, model: str = "m") -> Index:
    made = np.array(vectors or [], dtype=np.float32)
    width = made.shape[1] if vectors else 0
    files = [
        (VectorFile(f"file-{at}", "k", float(at)), Chunks(str(at), [text], "m" if vectors else "", width, made[at].tobytes() if vectors else b""))
        for at, text in enumerate(texts)
    ]  # fmt: skip
    return Index(files, model)


def ranked(index: Index, question: str, vector: list[float] | None = None, **more: object) -> list[tuple[str, float]]:
    options: dict[str, object] = {"weights": (1.0, 1.0), "least": 0.0, "most": 10, **more}
    return [(one.filename, one.score) for one in index.search(question, vector, everything, **options)]  # type: ignore[arg-type]


def test_rare_words_count_more_and_scores_are_shares() -> None:
    index = index_of(["the cat sat on the mat", "the dog sat on the cat", "the whale swims", "the the the the"])
    assert next(name for name, _ in ranked(index, "the whale")) == "2"
    assert [name for name, _ in ranked(index, "whales swimming")] == ["2"], "other endings of long words meet"
    for question in ("the cat", "cat sat mat", "the", "whale"):
        found = ranked(index, question)
        assert found == sorted(found, key=lambda one: -one[1]) and all(0 < score <= 1 for _, score in found)
    assert ranked(index, "zebra") == [] == ranked(index, "") and ranked(index_of([]), "the") == []


def test_vectors_and_words_are_weighed() -> None:
    index = index_of(["alpha", "beta", "gamma"], [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert ranked(index, "gamma", [2.0, 0.0], weights=(1.0, 0.0)) == [("0", 1.0)], "opposite is not near"
    assert next(name for name, _ in ranked(index, "beta", [1.0, 0.1], weights=(0.9, 0.1))) == "0"
    assert next(name for name, _ in ranked(index, "beta", [1.0, 0.1], weights=(0.1, 0.9))) == "1"
    assert ranked(index, "beta", [1.0, 0.0, 0.0]) == ranked(index, "beta"), "a vector of another width is none"
    other = index_of(["alpha", "beta"], [[1.0, 0.0], [0.0, 1.0]], model="other")
    assert [name for name, _ in ranked(other, "beta", [1.0, 0.0])] == ["1"], "those of another model are none"
    assert ranked(index, "beta", [0.0, 1.0], least=0.99) == [] or ranked(index, "beta", [0.0, 1.0], least=0.99)[0][1] >= 0.99
    assert len(ranked(index, "alpha beta gamma", [1.0, 1.0], most=2)) == 2
