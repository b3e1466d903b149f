"""A synthetic extraction task of our own: support tickets and the JSON object a teacher would make of them.

    python -m benchmarks.replayed.orders --rows 6000 --seed 1 > orders.jsonl

Each answer has two labels (``intent``, ``urgent``), spans that are copied (``customer``, ``order``, ``date``; null
when they are not said), one that is normalised (``city``, in capitals) and a list (``items``).
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import Any

import msgspec

_FIRST = [
    "Anna",
    "Jonas",
    "Priya",
    "Wei",
    "Fatima",
    "Luca",
    "Olga",
    "Sam",
    "Mei",
    "Diego",
    "Ingrid",
    "Kofi",
    "Tariq",
    "Elena",
]
_LAST = [
    "Berg",
    "Okafor",
    "Singh",
    "Moreau",
    "Ito",
    "Novak",
    "Silva",
    "Hansen",
    "Rossi",
    "Khan",
    "Meyer",
    "Adams",
    "Larsson",
]
_CITIES = [
    "Lisbon",
    "Oslo",
    "Graz",
    "Leeds",
    "Porto",
    "Utrecht",
    "Malmo",
    "Ghent",
    "Turin",
    "Cork",
    "Basel",
    "Lyon",
    "Riga",
]
_COLOURS = ["red", "blue", "black", "green", "white", "grey"]
_THINGS = [
    "kettle",
    "lamp",
    "backpack",
    "toaster",
    "keyboard",
    "rain jacket",
    "water bottle",
    "desk chair",
    "headphones",
    "mug",
]
_MONTHS = ["January", "March", "May", "June", "August", "October", "December"]
_OPENERS = {
    "refund": [
        "I want my money back for",
        "please refund",
        "I was charged twice for",
        "I'd like a refund on",
    ],
    "missing": ["I never received", "still waiting for", "the parcel was missing", "there is no sign of"],
    "broken": ["I got a broken", "it arrived damaged:", "something is wrong with", "the box held a cracked"],
    "change": ["please change my order to", "I would rather have", "can you swap it for", "add to my order"],
}
_URGENT = ["This is urgent.", "I need it today!", "Please hurry.", "ASAP please"]
_FILLER = [
    "Thanks in advance.",
    "I have been a customer for years.",
    "Can you look into it?",
    "Not happy with this.",
    "Best wishes",
]


def ticket(rng: random.Random) -> dict[str, Any]:
    """One row: ``text`` and ``answer``."""
    intent = rng.choice(sorted(_OPENERS))
    items = [f"{rng.choice(_COLOURS)} {rng.choice(_THINGS)}" for _ in range(rng.choice([1, 1, 1, 2, 2, 3]))]
    listed = items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
    parts = [f"{rng.choice(_OPENERS[intent])} {'the ' if rng.random() < 0.4 else ''}{listed}."]
    order = customer = city = date = None
    if rng.random() < 0.8:
        order = rng.choice(["A-{}", "#{}", "ORD{}", "{}"]).format(rng.randrange(10_000, 999_999))
        parts.append(
            rng.choice(["Order {}.", "My order number is {}.", "It is about {}.", "Reference: {}"]).format(
                order
            )
        )
    if rng.random() < 0.7:
        date = f"{rng.randrange(1, 29)} {rng.choice(_MONTHS)}"
        parts.append(
            rng.choice(["I bought it on {}.", "It was due on {}.", "Ordered {}.", "That was {}."]).format(
                date
            )
        )
    if rng.random() < 0.6:
        city = rng.choice(_CITIES)
        parts.append(
            rng.choice(
                ["I live in {}.", "Ship it to {}.", "Delivery to {} please.", "Greetings from {}!"]
            ).format(city)
        )
    if urgent := rng.random() < 0.3:
        parts.append(rng.choice(_URGENT))
    if rng.random() < 0.5:
        parts.append(rng.choice(_FILLER))
    if rng.random() < 0.7:
        customer = f"{rng.choice(_FIRST)} {rng.choice(_LAST)}"
        parts.append(
            rng.choice(["My name is {}.", "Regards, {}", "This is {}.", "Yours, {}"]).format(customer)
        )
    first, *rest = parts
    rng.shuffle(rest)
    answer = {
        "intent": intent,
        "urgent": urgent,
        "customer": customer,
        "order": order,
        "date": date,
        "city": city.upper() if city else None,
        "items": items,
    }
    return {"text": " ".join([first, *rest]), "answer": answer}


def main() -> None:
    parser = argparse.ArgumentParser(description="Synthetic tickets and their JSON objects, as JSONL.")
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    rng = random.Random(f"orders/{chosen.seed}")
    for _ in range(chosen.rows):
        sys.stdout.buffer.write(msgspec.json.encode(ticket(rng)) + b"\n")


if __name__ == "__main__":
    main()
