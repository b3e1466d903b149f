"""Hyper-parameters within a budget: the same trials whenever it is killed, and never worse than without."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from gateway.config import Search
from trainer.features.terms import Vocabulary
from trainer.recipes import CannotLearn, Example, Means, Trained, train_first
from trainer.recipes.search import search
from trainer.recipes.space import LOSS, Dimension

pytest.importorskip("skopt", reason="the extra 'search' is not installed")

SPACE = [
    Dimension("strength", "real", 100.0, 0.1, 1000.0),
    Dimension("longest", "whole", 5, 2, 5),
    Dimension("pairs", "flag", True),
]
NOTHING = Vocabulary.of([], [])


def loss_of(values) -> float:
    """Least at strength 3, longest 3, without pairs."""
    return (math.log(values["strength"]) - math.log(3)) ** 2 + abs(values["longest"] - 3) + values["pairs"]


class Bench:
    """Trains nothing; counts, takes a minute each, and can be killed or fail at a trial."""

    def __init__(self, workspace: Path, *, dies_at: int = -1, fails_at: int = -1) -> None:
        self.workspace, self._dies, self._fails = workspace, dies_at, fails_at
        self.asked: list[dict] = []
        self.notes: list[str] = []
        self.now = 0.0

    def __call__(self, values, folder, number) -> Trained:
        if number == self._dies:
            raise KeyboardInterrupt
        if number == self._fails:
            raise CannotLearn("no")
        self.asked.append(values)
        folder.mkdir(parents=True)
        self.now += 60.0
        return Trained(("a",), 1, NOTHING, {LOSS: loss_of(values)})  # type: ignore[arg-type]

    def run(self, **plan) -> Trained:
        note = lambda text, _: self.notes.append(text)  # noqa: E731
        return search(self, SPACE, Search(**{"trials": 9, **plan}), 1, self.workspace, note, lambda: self.now)


def test_it_begins_with_the_usual_and_ends_with_something_better(tmp_path) -> None:
    bench = Bench(tmp_path)
    found = bench.run()
    assert bench.asked[0] == {"strength": 100.0, "longest": 5, "pairs": True}
    assert len(bench.asked) == len(bench.notes) == 9
    assert found.numbers[LOSS] < found.numbers["search_usual_loss"] / 4
    assert found.numbers["search_trials"] == 9
    assert [folder.name for folder in tmp_path.glob("trial-*")] == [
        f"trial-{min(range(9), key=lambda n: loss_of(bench.asked[n]))}"
    ]


@pytest.mark.parametrize("dies_at", [1, 5])
def test_killed_anywhere_it_makes_the_same_trials(tmp_path, dies_at) -> None:
    whole = Bench(tmp_path / "whole")
    expected = whole.run()
    with pytest.raises(KeyboardInterrupt):
        Bench(tmp_path / "broken", dies_at=dies_at).run()
    with (tmp_path / "broken" / "trials.jsonl").open("ab") as file:
        file.write(b'{"number":')  # the disk was written half
    again = Bench(tmp_path / "broken")
    for folder in (tmp_path / "broken").glob("trial-*"):
        folder.rmdir()
    found = again.run()
    assert again.asked[: 9 - dies_at] == whole.asked[dies_at:]
    assert found.numbers == expected.numbers
    lines = [json.loads(line) for line in (tmp_path / "broken" / "trials.jsonl").read_bytes().splitlines()]
    assert [line["values"] for line in lines] == whole.asked


def test_no_trial_begins_when_minutes_or_money_are_spent(tmp_path) -> None:
    by_time, by_money = Bench(tmp_path / "a"), Bench(tmp_path / "b")
    by_time.run(max_minutes=3)
    by_money.run(max_minutes=999, budget_usd=0.09, usd_per_hour=1.2)  # two cents a minute
    assert (len(by_time.asked), len(by_money.asked)) == (3, 5)


def test_a_trial_that_cannot_learn_is_the_worst_and_the_usual_one_must(tmp_path) -> None:
    assert Bench(tmp_path / "a", fails_at=3).run().numbers["search_trials"] == 9
    with pytest.raises(CannotLearn):
        Bench(tmp_path / "b", fails_at=0).run()


@pytest.mark.parametrize("recipe", ["classifier", "extractor"])
def test_a_recipe_is_searched_and_told_about(recipe, tmp_path) -> None:
    rng, notes = random.Random(1), []
    words = {"billing": ["invoice", "refund", "charge"], "shipping": ["parcel", "late", "box"]}
    rows = []
    for number in range(120):
        kind, name = rng.choice(sorted(words)), f"X{rng.randrange(1000, 9999)}"
        text = f"my {rng.choice(words[kind])} {name} {rng.choice(['please', 'thanks'])}"
        said = kind if recipe == "classifier" else json.dumps({"kind": kind, "order": name})
        rows.append(Example(text, said, 3, fold=number % 5))
    means = Means(workspace=tmp_path, search=Search(trials=4), note=lambda text, data: notes.append((text, data)))
    name, trained = train_first([recipe], rows, seed=1, tick=lambda *_: None, means=means)
    assert name == recipe
    assert len(notes) == 4
    assert "strength" in notes[1][0]
    assert trained.numbers[LOSS] <= trained.numbers["search_usual_loss"]
    assert len(trained.crossfit) == 120
