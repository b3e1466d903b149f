"""Values that are not copied but normalised: only where the span alone decides, and only as the teacher did."""

from __future__ import annotations

import json
import random

import pytest

from trainer.artifacts.predictor import answer
from trainer.artifacts.registry import as_trained, store
from trainer.features.layout import learn_layout
from trainer.features.normal import TRANSFORMS, locate
from trainer.features.values import NoLayout
from trainer.recipes import Example, train_first


@pytest.mark.parametrize(
    ("kind", "span", "value"),
    [
        ("number", "1,200", 1200), ("number", "-3.50", -3.5), ("number", "12", 12), ("number", "1,20", None),
        ("number", "1.200,5", None), ("number", "1,2000", None), ("number_comma", "1.200,50", 1200.5),
        ("number_comma", "7", 7), ("number_text", "1,200.50", "1200.50"), ("number_comma_text", "1.200,50", "1200.50"),
        ("number", "9" * 400, None), ("date", "3rd of May 2024", "2024-05-03"), ("date", "May 3, 2024", "2024-05-03"),
        ("date", "03/04/2024", "2024-04-03"), ("date_month_first", "03/04/2024", "2024-03-04"),
        ("date", "2024-02-30", None), ("date", "2024/5/3", "2024-05-03"), ("date", "3 Sept. 2024", "2024-09-03"),
        ("date", "3 May", None), ("digits", "+1 (555) 010-99", "155501099"), ("digits", "none", None),
        ("quantity", "5 kilograms", "5 kg"), ("quantity", "1,200.50KG", "1200.50 kg"), ("quantity_tight", "16 GB", "16GB"),
        ("quantity", "5 parsecs", None), ("in_min", "2 hours", 120), ("in_min", "90 sec", 1.5), ("in_min", "3 kg", None),
        ("in_h", "90-minute", 1.5), ("in_d", "2 weeks", 14), ("in_g", "1.5kg", 1500), ("in_kg", "2 lbs", 0.90718474),
        ("in_m", "1 mile", 1609.344), ("in_cm", "3 ft", 91.44), ("in_ml", "2 l", 2000), ("in_km", "12", None),
    ],
)  # fmt: skip
def test_what_becomes_of_a_span(kind, span, value) -> None:
    got = TRANSFORMS[kind](span)
    assert (got, type(got)) == (value, type(value))


def test_a_value_is_found_where_it_stands_whole() -> None:
    text = "Order 12 of May 3, 2024: 1,200 EUR, then 200 more"
    assert text[slice(*locate(text, 1200, "number"))] == "1,200"
    assert text[slice(*locate(text, 200, "number"))] == "200"
    assert text[slice(*locate(text, "2024-05-03", "date"))] == "May 3, 2024"
    assert locate(text, True, "number") is None  # true is not 1
    assert locate(text, 1200.0, "number") is None  # nor 1200.0 what the span says


def test_units_are_learnt_where_every_value_follows_them() -> None:
    rng = random.Random(2)
    rows = []
    for _ in range(120):
        count, weight = rng.randrange(1, 90), rng.randrange(2, 900)
        unit, factor = rng.choice([("hours", 60), ("minutes", 1), ("days", 1440)])
        name = rng.choice(["kg", "kilograms", "kilos"])
        said = {"minutes": count * factor, "weight": f"{weight} kg"}
        rows.append((f"move {weight} {name} within {count} {unit}", json.dumps(said)))
    layout = learn_layout(rows)
    assert [(one.kind, one.transform) for one in layout.fields] == [("span", "in_min"), ("span", "quantity")]
    for text, said in rows:
        spots = layout.spots(text, said)
        assert spots is not None
        assert layout.compose(text, spots, {}) == said
    wrong = [(text, json.dumps({"minutes": number * 7919})) for number, (text, _) in enumerate(rows)]
    with pytest.raises(NoLayout):
        learn_layout(wrong)


MONTHS = ["January", "March", "May", "August", "October"]


def bill(rng: random.Random) -> tuple[str, str]:
    year, month, day = rng.randrange(2020, 2027), rng.randrange(5), rng.randrange(1, 29)
    amount, count = rng.randrange(1000, 90000), rng.randrange(2, 40)
    date = rng.choice([f"{day} {MONTHS[month]} {year}", f"{MONTHS[month]} {day}, {year}"])
    shifted = [1, 3, 5, 8, 10][month]
    text = f"Please pay {amount:,} EUR for {count} lamps, due {date}, thanks"
    value = {"amount": amount, "count": count, "due": f"{year}-{shifted:02d}-{day:02d}"}
    return text, json.dumps(value)


def test_a_student_normalises_as_its_teacher_does(tmp_path) -> None:
    rng = random.Random(3)
    pairs = [bill(rng) for _ in range(220)]
    rows = [Example(text, said, 9, fold=n % 5) for n, (text, said) in enumerate(pairs[:160])]
    name, trained = train_first("auto", rows, seed=1, tick=lambda *_: None)
    assert name == "extractor"
    again = as_trained(store(tmp_path / "s-v1", name, trained, "d" * 64, 1))
    said = [ranked[0][0] for ranked in answer(again.parameters, (), [text for text, _ in pairs[160:]])]
    assert sum(given == wanted for given, (_, wanted) in zip(said, pairs[160:], strict=True)) >= 55


def test_a_span_without_a_value_leaves_the_student_unsure() -> None:
    rng = random.Random(3)
    rows = [Example(text, said, 9, fold=n % 5) for n, (text, said) in enumerate(bill(rng) for _ in range(160))]
    made = train_first(["extractor"], rows, seed=1, tick=lambda *_: None)[1]
    (said, sure), *_ = answer(made.parameters, (), ["Please pay 1,200 EUR for 12 lamps, due 31 February 2024, thanks"])[0]
    assert json.loads(said)["amount"] == 1200
    assert sure < 0.5


def test_a_teacher_that_reads_dates_both_ways_is_not_imitated() -> None:
    def row(number: int) -> tuple[str, str]:
        year, first, second = 1900 + number, number % 12 + 1, (number * 5 + 3) % 12 + 1
        day, month = (first, second) if number % 2 else (second, first)
        return f"on {first:02d}/{second:02d}/{year}", json.dumps({"day": f"{year}-{month:02d}-{day:02d}"})

    with pytest.raises(NoLayout, match="neither in the input nor"):
        learn_layout([row(number) for number in range(80)])
