"""A dataset's card: what it was made of, what each step did, and which defences were in force."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.storage.values import TrainingCall
from trainer.datasets.curate import Step
from trainer.datasets.split import Part

_MOST_ANSWERS, _TOLD_ANSWERS = 200, 20


def card_of(
    parts: Mapping[Part, Sequence[TrainingCall]],
    steps: Sequence[Step],
    *,
    words_of_one_key: bool,
    **facts: object,
) -> dict[str, Any]:
    """``facts`` with what can be counted: rows, steps, senders, answers. ``words_of_one_key``: whether the rows say
    who sent them, so that a word that one key uses is no feature."""
    used = [call for calls in parts.values() for call in calls]
    caps = {step.name: step.in_force for step in steps if step.name.endswith("_cap")}
    return facts | {
        "rows": {part: len(calls) for part, calls in parts.items()},
        "steps": msgspec.to_builtins(steps),
        "principal_caps_in_force": caps | {"words_of_one_key": words_of_one_key},
        "sources": {
            "keys": len({call.key_id for call in used}),
            "end_users": len({(call.key_id, call.end_user) for call in used}),
        },
        "captured_from": min((call.created_at for call in used), default=None),
        "captured_to": max((call.created_at for call in used), default=None),
        "answers": answers_of(call.answer for call in parts["train"]),
    }


def answers_of(answers: Iterable[str]) -> dict[str, int]:
    """The most frequent answers, with how many rows each has."""
    return dict(Counter(answers).most_common(_MOST_ANSWERS))


def readable(card: Mapping[str, Any], digest: str) -> str:
    """The card as a page of Markdown for people."""
    rows = ", ".join(f"{count:,} {part}" for part, count in card["rows"].items())
    guards = card["principal_caps_in_force"].items()
    caps = "; ".join(f"{name}: {'in force' if on else 'too few senders'}" for name, on in guards)
    masked = "masked" if card["masked"] else "not masked"
    answers = list(card["answers"].items())[:_TOLD_ANSWERS]
    lines = [
        f"# Dataset of {card['task']}",
        "",
        f"Named by its rows: `{digest}`. Made by run `{card['lineage']['run']}` in project {card['project']}, for",
        f"requests that look like `{card['fingerprint']}`. Personal data is {masked}.",
        "",
        f"{card['calls_read']:,} captured calls were read. {card['raw_training_calls']:,} of them fell into the",
        "training part by the hash of their group, before anything looked at them; only these were curated.",
        f"Rows: {rows}. Senders: {card['sources']['keys']:,} keys, {card['sources']['end_users']:,} end users.",
        *(_erased(card["erased"]) if "erased" in card else ()),
        "",
        "| step | in | out | found | also seen |",
        "|---|---|---|---|---|",
        *(_line(step) for step in card["steps"]),
        "",
        f"Caps against planted answers: {caps}.",
        "",
        "| answer | rows |",
        "|---|---|",
        *(f"| {_cell(answer)} | {count:,} |" for answer, count in answers),
        "",
    ]
    return "\n".join(lines)


def _erased(counts: Mapping[str, int]) -> tuple[str, ...]:
    gone = counts["request"] + counts["retention"]
    return (
        f"Since then {gone:,} rows were erased, {counts['request']:,} of them because somebody asked for it; their",
        "places and salted hashes are kept.",
    )


def _line(step: Mapping[str, Any]) -> str:
    if not step["in_force"]:
        return f"| {step['name']} | {step['rows_in']:,} | {step['rows_out']:,} | – | not in force |"
    seen = ", ".join(f"{count:,} {what}" for what, count in step["noted"].items())
    return f"| {step['name']} | {step['rows_in']:,} | {step['rows_out']:,} | {step['found']:,} | {seen} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:80]
