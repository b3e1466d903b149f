"""A synthetic task of our own whose teacher calls tools: messages to an order desk, and what a teacher would call.

    python -m benchmarks.replayed.desk --rows 6000 --seed 1 > desk.jsonl
    python -m benchmarks.replayed.desk --tools > desk.tools.json

One message in seven is answered in words, one in eight with two calls. Arguments are labels (``reason``,
``express``), spans (``order_id``, ``item``), normalised spans (``city`` in capitals, ``quantity`` as a number), a list
(``items``), some are left out when nothing is said of them, and the second of two calls may repeat the first's order.
Every fifth message speaks of another order too, and every tenth quantity is written in words, which no span becomes.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable
from typing import Any

import msgspec

Call = tuple[str, dict[str, Any]]
_COLOURS = ["red", "blue", "black", "green", "white", "grey", "yellow"]
_THINGS = [
    "kettle", "lamp", "backpack", "toaster", "keyboard", "rain jacket", "water bottle", "desk chair", "mug", "scarf",
]  # fmt: skip
_CITIES = ["Lisbon", "Oslo", "Graz", "Leeds", "Porto", "Utrecht", "Malmo", "Ghent", "Turin", "Cork", "Basel", "Riga"]
_REASONS = {
    "too_late": ["it takes too long", "it is far too late now", "I cannot wait any more"],
    "wrong_item": ["I picked the wrong thing", "I clicked on the wrong one", "that was a mistake"],
    "found_cheaper": ["I found it cheaper", "another shop has a better price"],
}
_IN_WORDS = {3: "three", 5: "five", 10: "ten", 12: "a dozen"}
_ASIDES = ["Order {} came well, by the way.", "This has nothing to do with {}.", "I was happy with {} last month."]
_HELLO = ["", "", "Hello,", "Hi there,", "Good morning,", "Dear team,"]
_BYE = ["", "", "Thanks!", "Best wishes", "Please hurry.", "Let me know."]
_TALK = [
    ("do you ship to {}", "We do ship to {}; it takes about {} days."),
    ("what are your opening hours in {}", "Our shop in {} opens at {}."),
    ("is the {} waterproof", "The {} is waterproof up to {} metres."),
    ("how heavy is the {}", "The {} weighs {} grams."),
    ("can I pay by invoice in {}", "In {} you can pay by invoice from {} euro on."),
]


def _order(rng: random.Random) -> str:
    return rng.choice(["A-{}", "ORD{}", "{}"]).format(rng.randrange(10_000, 999_999))


def _item(rng: random.Random) -> str:
    return f"{rng.choice(_COLOURS)} {rng.choice(_THINGS)}"


def _track(rng: random.Random) -> tuple[str, list[Call]]:
    order = _order(rng)
    text = rng.choice(["where is order {}?", "when will {} arrive?", "any news of my parcel {}?", "track {} please."])
    return text.format(order), [("track_order", {"order_id": order})]


def _cancel(rng: random.Random) -> tuple[str, list[Call]]:
    order = _order(rng)
    text = rng.choice(["cancel {}", "please stop order {}", "I don't want {} any more", "call off my order {}"])
    arguments: dict[str, Any] = {"order_id": order}
    text = text.format(order)
    if rng.random() < 0.6:
        arguments["reason"] = rng.choice(sorted(_REASONS))
        text += f", {rng.choice(_REASONS[arguments['reason']])}"
    return f"{text}.", [("cancel_order", arguments)]


def _back(rng: random.Random) -> tuple[str, list[Call]]:
    order, items = _order(rng), [_item(rng) for _ in range(rng.choice([1, 1, 2, 3]))]
    listed = items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
    text = rng.choice([
        "I want to send back the {} from order {}.", "the {} of {} can go back, please.",
        "how do I return the {}? It was order {}.",
    ])  # fmt: skip
    return text.format(listed, order), [("return_items", {"order_id": order, "items": items})]


def _place(rng: random.Random) -> tuple[str, list[Call]]:
    item, quantity, express = _item(rng), rng.randrange(2, 40), rng.random() < 0.3
    text = rng.choice(["I'd like {} of the {}", "send me {} times the {}", "please order {} pieces of the {}"])
    said = str(quantity)
    if rng.random() < 0.1:
        quantity, said = rng.choice(list(_IN_WORDS.items()))
    text = text.format(said, item) + (rng.choice([", express please", ", as fast as you can"]) if express else "")
    return f"{text}.", [("place_order", {"item": item, "quantity": quantity, "express": express})]


def _move(rng: random.Random) -> tuple[str, list[Call]]:
    order, city = _order(rng), rng.choice(_CITIES)
    text = rng.choice(["deliver {} to {} instead.", "I moved: {} has to go to {}.", "send order {} to {} please."])
    return text.format(order, city), [("change_address", {"order_id": order, "city": city.upper()})]


def _two(rng: random.Random) -> tuple[str, list[Call]]:
    if rng.random() < 0.5:
        (first, one), (second, two) = _cancel(rng), _place(rng)
        return f"{first} {rng.choice(['Instead', 'And then', 'After that'])} {second}", [*one, *two]
    order = _order(rng)
    text = rng.choice(["track {} and cancel it if you can.", "look where {} is, then stop it."])
    return text.format(order), [("track_order", {"order_id": order}), ("cancel_order", {"order_id": order})]


_KINDS: list[Callable[[random.Random], tuple[str, list[Call]]]] = [_track, _cancel, _back, _place, _move, _two]


def message(rng: random.Random) -> dict[str, Any]:
    """One row: ``text``, and ``calls`` or an ``answer`` in words."""
    hello, bye = rng.choice(_HELLO), rng.choice(_BYE)
    if rng.random() < 1 / 7:
        asked, told = rng.choice(_TALK)
        what = rng.choice(_CITIES) if "ship" in asked or "in {}" in asked else rng.choice(_THINGS)
        calls: list[Call] = []
        text, answer = f"{asked.format(what)}?", told.format(what, rng.randrange(2, 900))
    else:
        (text, calls), answer = rng.choice(_KINDS)(rng), ""
    aside = rng.choice(_ASIDES).format(_order(rng)) if rng.random() < 0.2 else ""
    said = [text, aside] if rng.random() < 0.5 else [aside, text]
    row: dict[str, Any] = {"text": " ".join(part for part in (hello, *said, bye) if part)}
    if not calls:
        return row | {"answer": answer}
    return row | {"calls": [{"name": name, "arguments": arguments} for name, arguments in calls]}


def tools() -> list[dict[str, Any]]:
    """What the desk's client offers with each message."""
    order = {"order_id": {"type": "string"}}
    shapes: dict[str, tuple[dict[str, Any], list[str]]] = {
        "track_order": (order, ["order_id"]),
        "cancel_order": (order | {"reason": {"type": "string", "enum": sorted(_REASONS)}}, ["order_id"]),
        "return_items": (
            order | {"items": {"type": "array", "items": {"type": "string"}, "minItems": 1}}, ["order_id", "items"],
        ),
        "place_order": (
            {"item": {"type": "string"}, "quantity": {"type": "integer", "minimum": 1}, "express": {"type": "boolean"}},
            ["item", "quantity", "express"],
        ),
        "change_address": (order | {"city": {"type": "string"}}, ["order_id", "city"]),
    }  # fmt: skip
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": name.replace("_", " "),
                "parameters": {
                    "type": "object", "properties": properties, "required": required, "additionalProperties": False,
                },
            },
        }
        for name, (properties, required) in shapes.items()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Messages to an order desk and the tool calls they ask for, as JSONL.")
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tools", action="store_true", help="write the tools instead")
    chosen = parser.parse_args()
    if chosen.tools:
        sys.stdout.buffer.write(msgspec.json.encode(tools()) + b"\n")
        return
    rng = random.Random(f"desk/{chosen.seed}")
    for _ in range(chosen.rows):
        sys.stdout.buffer.write(msgspec.json.encode(message(rng)) + b"\n")


if __name__ == "__main__":
    main()
